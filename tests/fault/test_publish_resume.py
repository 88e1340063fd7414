"""`imager fetch` and `imager publish` that ended too early, and connections that break."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.caches.caches import sha256, tree_files
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.servers.faults import CutAt, CutUpload
from tests.lib.servers.rules import Where
from tests.lib.tools import cli

SMALL, LARGE = (random.Random(number).randbytes(number << 20) for number in (2, 6))
FILES = {"metal-amd64.raw.zst": LARGE, "metal-amd64.iso": SMALL, "metal-amd64.iso.bmap": b"<bmap/>"}
HALF = 3 << 20
SECONDS = 60.0


@pytest.fixture
def out(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    made.mkdir()
    for name, data in FILES.items():
        (made / name).write_bytes(data)
    return made


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_programmable() as running:
        yield running


def publish(registry: Registry, out: Path, *options: str) -> list[str]:
    outputs = [out / name for name in FILES]
    done = cli.run("publish", *outputs, f"{registry.host}/a/b:v1", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [each["outcome"] for each in json.loads(done.stdout)["blobs"]]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_fetch_that_was_ended_is_resumed(
    registry: Registry, out: Path, folder: Path, number: signal.Signals
) -> None:
    publish(registry, out)
    large = Where("GET", word=f"/blobs/sha256:{sha256(LARGE)}")
    registry.always(large, CutAt(HALF, stall=True))
    command = ["fetch", f"{registry.host}/a/b:v1", "-o", str(folder / "to")]
    process = subprocess.Popen(
        [*cli.IMAGER, *command], env=cli.environment(), stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + SECONDS
    while sum(map(len, tree_files(folder).values())) < len(SMALL) + HALF - (1 << 20):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    _, said = process.communicate(timeout=SECONDS)
    # Nothing has its name before everything is there.
    assert [path.name.startswith(".fetch.") for path in (folder / "to").iterdir()] == [True]
    if number == signal.SIGTERM:
        assert b"run the same command again to resume" in said
        assert b"Traceback" not in said

    registry.heal()
    registry.log.clear()
    done = cli.run(*command)
    assert done.returncode == 0, done.stderr
    (asked,) = registry.log.about("/blobs/")
    assert asked.path.endswith(sha256(LARGE))
    assert HALF - (2 << 20) < asked.start <= HALF
    assert tree_files(folder / "to") == FILES
    assert (folder / "to/metal-amd64.iso").stat().st_mtime > time.time() - 600


def test_broken_connections(registry: Registry, out: Path, folder: Path) -> None:
    registry.fault(Where("PATCH"), CutUpload(100_000), CutUpload(100_000, keeps=False))
    assert set(publish(registry, out, "--chunk-size", "1MiB")) == {"sent"}
    # What an earlier run has pushed is not sent again.
    assert set(publish(registry, out)) == {"already present"}
    large = Where("GET", word=f"/blobs/sha256:{sha256(LARGE)}")
    registry.fault(large, CutAt(HALF), CutAt(HALF + 1))
    registry.log.clear()
    done = cli.run("fetch", f"{registry.host}/a/b:v1", "-o", folder / "to")
    assert done.returncode == 0, done.stderr
    starts = [each.start for each in registry.log.about(sha256(LARGE))]
    assert starts == [0, HALF, HALF + 1]
    assert tree_files(folder / "to") == FILES
