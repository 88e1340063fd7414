"""Make the cache, run all cases, and print the table."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.bench.cache import bench_cache
from tests.bench.cases import RAW, Builds, Setting, interleaved_cases, single_cases
from tests.bench.copying import copying_cases
from tests.bench.extensions import bench_extension, extension_cases, fill_extension_cache
from tests.bench.formats import appliance_cases, format_cases
from tests.bench.images import bench_images, push_images, push_many_images
from tests.bench.measure import Result, measure
from tests.bench.pulling import fill_layer_cache, pull_cases
from tests.bench.serving import serving_table
from tests.bench.table import headline, render, save
from tests.lib.registries.registry import running_registry

_ROOT = Path(__file__).parents[2]
_GROUPS = ("builds", "pulls", "formats", "copying", "serving")
_DISK = "disk/metal-amd64.raw"
# Of what takes minutes.
_MOST_ROUNDS = 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=_ROOT / "build/bench")
    parser.add_argument("--assets", type=Path, default=_ROOT / ".cache/assets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=_GROUPS, help="one group of cases")
    parser.add_argument("--save", type=Path, metavar="PAGE", help="put the table into this page")
    return parser.parse_args()


def _make_disk(builds: Builds, disk: Path) -> None:
    """Build the raw disk that other tools compress and convert."""
    disk.parent.mkdir(parents=True, exist_ok=True)
    made = replace(builds, output=disk.parent)
    subprocess.run(made.build("metal", builds.cache.flat, *RAW), check=True)


def main() -> None:
    """Run the benchmarks."""
    arguments = _arguments()
    folder: Path = arguments.folder
    load = os.getloadavg()[0]
    if arguments.only in (None, "builds", "pulls"):
        _commands(arguments, folder, load)
    if arguments.only in (None, "formats"):
        _formats(arguments, folder, load)
    if arguments.only in (None, "copying"):
        cases = copying_cases(bench_cache(folder / "cache"), folder / "output")
        results = measure(cases, rounds=arguments.rounds, output=folder / "output")
        table = render(results, folder=folder, load=load)
        sys.stdout.write(table)
        if arguments.save:
            save(table, arguments.save, name="copying")
    if arguments.only in (None, "serving"):
        table = "\n".join(
            [headline(folder, load), "", serving_table(folder / "serving", rounds=arguments.rounds)]
        )
        sys.stdout.write(table)
        if arguments.save:
            save(table, arguments.save, name="serving")


def _commands(arguments: argparse.Namespace, folder: Path, load: float) -> None:
    """Measure commands, one after another."""
    cache = bench_cache(folder / "cache")
    # Earlier runs have pushed gigabytes to it.
    shutil.rmtree(folder / "registry", ignore_errors=True)
    with running_registry(folder / "registry") as registry:
        setting = Setting(
            arguments.assets,
            cache,
            folder / "output",
            folder / _DISK,
            registry.host,
            push_images(bench_images(folder / "images"), registry.host),
            push_many_images(registry.host),
        )
        results: list[Result] = []
        if arguments.only != "pulls":
            _make_disk(setting, setting.disk)
            cases = interleaved_cases(setting)
            results += measure(cases, rounds=arguments.rounds, output=setting.output)
            results += measure(single_cases(setting), rounds=1, output=setting.output)
        if arguments.only != "builds":
            subprocess.run(fill_layer_cache(setting), check=True)
            cases = pull_cases(setting)
            results += measure(cases, rounds=arguments.rounds, output=setting.output)
    table = render(results, folder=folder, load=load)
    sys.stdout.write(table)
    if arguments.save:
        save(table, arguments.save, name="table")


def _formats(arguments: argparse.Namespace, folder: Path, load: float) -> None:
    """Measure the formats of disks, and system extensions."""
    output = folder / "output"
    builds = Builds(arguments.assets, bench_cache(folder / "cache"), output)
    _make_disk(builds, folder / _DISK)
    extension = bench_extension(folder / "extension")
    subprocess.run(fill_extension_cache(builds, extension), check=True)
    rounds = min(arguments.rounds, _MOST_ROUNDS)
    results = measure(format_cases(builds), rounds=rounds, output=output)
    results += measure(appliance_cases(builds, folder / _DISK), rounds=1, output=output)
    results += measure(extension_cases(builds, extension), rounds=rounds, output=output)
    table = render(results, folder=folder, load=load)
    sys.stdout.write(table)
    if arguments.save:
        save(table, arguments.save, name="formats")


if __name__ == "__main__":
    main()
