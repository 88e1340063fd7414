"""Make the cache, run all cases, and print the table."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.bench.cache import bench_cache
from tests.bench.cases import Setting, interleaved_cases, single_cases
from tests.bench.measure import measure
from tests.bench.table import render, save

_ROOT = Path(__file__).parents[2]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=_ROOT / "build/bench")
    parser.add_argument("--assets", type=Path, default=_ROOT / ".cache/assets")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", type=Path, metavar="PAGE", help="put the table into this page")
    return parser.parse_args()


def _make_disk(setting: Setting) -> None:
    """Build the raw disk that zstd compresses."""
    setting.disk.parent.mkdir(parents=True, exist_ok=True)
    made = Setting(setting.assets, setting.cache, setting.disk.parent, setting.disk)
    subprocess.run(made.build("metal", setting.cache.flat, "--out-format", "raw"), check=True)


def main() -> None:
    """Run the benchmarks."""
    arguments = _arguments()
    folder: Path = arguments.folder
    load = os.getloadavg()[0]
    cache = bench_cache(folder / "cache")
    setting = Setting(
        arguments.assets, cache, folder / "output", folder / "disk" / "metal-amd64.raw"
    )
    _make_disk(setting)
    results = measure(interleaved_cases(setting), rounds=arguments.rounds, output=setting.output)
    results += measure(single_cases(setting), rounds=1, output=setting.output)
    table = render(results, folder=folder, load=load)
    sys.stdout.write(table)
    if arguments.save:
        save(table, arguments.save)


if __name__ == "__main__":
    main()
