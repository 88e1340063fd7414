"""Changing a cache when something goes wrong meanwhile: the old one stays whole."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, make_flat, make_layout, sha256, tree_files
from tests.lib.registries.programmable import Registry
from tests.lib.registries.sample import BLOB, BLOB_PATH
from tests.lib.servers.faults import Cut
from tests.lib.servers.messages import Answer
from tests.lib.tools import cli
from tests.lib.tools.support import names_in

INPUT, DEPENDENCY = 2, 5
PACKINGS = pytest.mark.parametrize("packing", ["oci", "flat"])


@pytest.fixture(name="source")
def flat_source(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "source", blob_size=20_000)


@pytest.fixture(name="path")
def cache_path(source: CacheFixture, folder: Path, packing: str) -> Path:
    if packing == "oci":
        return make_layout(source, folder / "cache")
    source.folder.rename(folder / "cache")
    return folder / "cache"


def add(path: Path) -> Sequence[str]:
    return ("images", "cache-add", str(path), "--images", "-")


def half_way(server: Registry, path: Path) -> subprocess.Popen[bytes]:
    """Start a run whose server stops sending in the middle of a blob, and wait until it does."""
    server.always(BLOB_PATH, Cut(3 << 19, stall=True))
    process = subprocess.Popen(
        [*cli.IMAGER, *add(path)],
        env=cli.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(f"{server.host}/team/app:v1".encode())
    process.stdin.close()
    process.stdin = None
    deadline = time.monotonic() + 60
    new = (".cache.*/layer.tar", f".cache.*/blob/sha256-{sha256(BLOB)}")
    while not any(
        each.stat().st_blocks > 1 << 10 for name in new for each in path.parent.glob(name)
    ):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@PACKINGS
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_half_way_the_old_cache_is_whole(
    server: Registry, path: Path, packing: str, number: signal.Signals
) -> None:
    before = tree_files(path)
    process = half_way(server, path)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert tree_files(path) == before
    assert cli.run("images", "cache-verify", path).returncode == 0

    server.heal()
    done = cli.run(*add(path), stdin=f"{server.host}/team/app:v1")
    assert done.returncode == 0, done.stderr
    assert names_in(path.parent) == ["cache"]
    verified = cli.run("images", "cache-verify", path)
    assert verified.stdout.splitlines()[-1].startswith("verified 4 images, ")


@PACKINGS
def test_a_registry_that_lies_leaves_the_old_cache(
    server: Registry, path: Path, packing: str
) -> None:
    before = tree_files(path)
    server.always(BLOB_PATH, Answer(body=BLOB[::-1]))
    done = cli.run(*add(path), stdin=f"{server.host}/team/app:v1")
    assert done.returncode == DEPENDENCY
    assert tree_files(path) == before
    assert names_in(path.parent) == ["cache"]


@pytest.mark.parametrize("packing", ["flat"])
def test_what_cannot_be_is_said_in_a_line_or_two(source: CacheFixture, path: Path) -> None:
    tar = path.with_name("cache.tar")
    tar.write_bytes(b"x" * 1024)
    for argv, code, said in (
        (("cache-add", tar, "--images", "-"), INPUT, "is not an image cache"),
        (("cache-prune", path.parent), INPUT, "is not an image cache"),
        (
            ("cache-prune", path, "--keep", path / "none"),
            INPUT,
            "neither an image list file nor",
        ),
        (("cache-prune", path, "--platform", "linux"), INPUT, "is not a platform"),
        (("cache-info", path.with_name("gone")), INPUT, "does not exist"),
        (("cache-verify", path, "--platform", "linux/s390x"), INPUT, "3 problems"),
    ):
        done = cli.run("images", *argv, stdin=source.references[0])
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)
        assert said in done.stderr
    assert names_in(path.parent) == ["cache", "cache.tar"]


@pytest.mark.parametrize("packing", ["flat"])
def test_a_platform_cannot_speak_to_the_terminal(path: Path) -> None:
    for old in [*path.rglob("reference/v1"), *path.rglob("digest/*")]:
        data = old.read_bytes()
        if b'"manifests"' in data:
            new = data.replace(b'"os": "linux"', b'"os": "\\u001b[2Jx"')
            old.unlink()
            name = "v1" if old.name == "v1" else f"sha256-{sha256(new)}"
            old.with_name(name).write_bytes(new)
    for argv in (("cache-info", path), ("cache-verify", path), ("cache-diff", path, path)):
        done = cli.run("images", *argv)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
    assert "[2jx/amd64" in cli.run("images", "cache-info", path).stdout
