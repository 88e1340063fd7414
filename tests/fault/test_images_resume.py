"""`imager images cache-create` that ended too early: the next run fetches what is missing alone."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lib.caches.caches import (
    MANIFEST_TYPE,
    image_manifest,
    sha256,
    tree_files,
)
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.sample import CONFIG
from tests.lib.servers.faults import CutAt
from tests.lib.servers.messages import Request
from tests.lib.servers.rules import Where
from tests.lib.tools import cli

LAYERS = [random.Random(number).randbytes((2 + number) << 20) for number in range(3)]
MANIFEST = image_manifest(CONFIG, LAYERS)
BLOBS = {sha256(blob): blob for blob in (CONFIG, *LAYERS)}
LARGEST = max(LAYERS, key=len)
LARGEST_BLOB = Where(word=sha256(LARGEST))
HALF = 3 << 20
SECONDS = 60.0
Trees = Mapping[str, Mapping[str, bytes]]
LAYOUTS = pytest.mark.parametrize("layout", ["oci", "flat"])


def stall(registry: Registry) -> None:
    """Have the registry fall silent in the middle of the largest layer."""
    registry.always(LARGEST_BLOB, CutAt(HALF, stall=True))


def blobs(registry: Registry) -> list[Request]:
    return registry.log.about("/blobs/")


@pytest.fixture(scope="module")
def running() -> Iterator[Registry]:
    with running_programmable() as registry:
        for name in ("app", "other"):
            repository = registry.repository(f"team/{name}")
            for blob in BLOBS.values():
                repository.add_blob(blob)
            repository.add_manifest(MANIFEST, MANIFEST_TYPE, tag="v1")
        yield registry


@pytest.fixture
def registry(running: Registry) -> Registry:
    running.heal()
    running.log.clear()
    return running


@pytest.fixture(scope="module")
def uninterrupted(running: Registry, tmp_path_factory: pytest.TempPathFactory) -> Trees:
    """Return, by layout, the files of a cache that was made in one go."""
    running.heal()
    found = {}
    for layout in ("oci", "flat"):
        folder = tmp_path_factory.mktemp(layout) / "folder"
        folder.mkdir()
        done = cli.run(*arguments(folder, running, "--layout", layout))
        assert done.returncode == 0, done.stderr
        found[layout] = tree_files(folder / "cache")
    return found


def arguments(folder: Path, registry: Registry, *options: str) -> list[str]:
    images = folder.with_name("images")
    images.write_text(f"{registry.host}/team/app:v1\n")
    named = "--image-cache-path" in options
    path = [] if named else ["--image-cache-path", str(folder / "cache")]
    return ["images", "cache-create", "--images", str(images), *path, *options]


def half_way(folder: Path, registry: Registry, *options: str) -> subprocess.Popen[bytes]:
    """Start a run whose registry falls silent, and wait until it has got all that there is."""
    stall(registry)
    process = subprocess.Popen(
        [*cli.IMAGER, *arguments(folder, registry, *options)],
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + SECONDS
    all_but = sum(map(len, BLOBS.values())) - len(LARGEST)
    while used(folder.parent) < all_but + HALF - (1 << 20):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # Its last requests may still be under way.
    time.sleep(0.3)
    return process


def used(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> str:
    process.send_signal(number)
    _, said = process.communicate(timeout=SECONDS)
    return said.decode()


def again(folder: Path, registry: Registry, *options: str) -> list[Request]:
    """Run once more, with a registry that is well; return the requests for blobs."""
    registry.heal()
    registry.log.clear()
    done = cli.run(*arguments(folder, registry, *options))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["cache"]
    return blobs(registry)


@LAYOUTS
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_ended_is_taken_up(
    registry: Registry, folder: Path, uninterrupted: Trees, layout: str, number: signal.Signals
) -> None:
    said = end(half_way(folder, registry, "--layout", layout), number)
    assert "Traceback" not in said
    assert [path.name.startswith(".cache.") for path in folder.iterdir()] == [True]
    if number is not signal.SIGKILL:
        assert f" in {folder}/.cache." in said
        assert "run the same command again to resume" in said

    asked = again(folder, registry, "--layout", layout)

    # The configuration is read for its platform.
    (rest,) = [request for request in asked if not request.path.endswith(sha256(CONFIG))]
    assert rest.path.endswith(sha256(LARGEST))
    assert HALF - (2 << 20) < rest.start <= HALF
    assert tree_files(folder / "cache") == uninterrupted[layout]


@pytest.mark.parametrize("suffix", [".tar", ".tar.zst"])
def test_an_archive_is_taken_up_as_well(registry: Registry, folder: Path, suffix: str) -> None:
    path = folder / f"cache{suffix}"
    options = ("--image-cache-path", str(path))
    end(half_way(folder, registry, *options), signal.SIGKILL)
    assert not path.exists()
    registry.heal()
    registry.log.clear()
    done = cli.run(*arguments(folder, registry, *options))
    assert done.returncode == 0, done.stderr
    (rest,) = [each for each in blobs(registry) if not each.path.endswith(sha256(CONFIG))]
    assert HALF - (2 << 20) < rest.start <= HALF
    assert [each.name for each in folder.iterdir()] == [path.name]
    other = folder.with_name(f"other{suffix}")
    done = cli.run(*arguments(folder, registry, "--image-cache-path", str(other)))
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == other.read_bytes()


@LAYOUTS
def test_a_registry_that_gave_up_is_taken_up(
    registry: Registry, folder: Path, uninterrupted: Trees, layout: str
) -> None:
    registry.always(LARGEST_BLOB, CutAt(HALF))
    done = cli.run(*arguments(folder, registry, "--layout", layout, "--retries", "1"))
    assert done.returncode == 5, done.stderr
    assert "run the same command again to resume" in done.stderr
    assert not (folder / "cache").exists()

    (rest,) = [
        each
        for each in again(folder, registry, "--layout", layout)
        if not each.path.endswith(sha256(CONFIG))
    ]
    assert rest.start == HALF
    assert tree_files(folder / "cache") == uninterrupted[layout]


@LAYOUTS
def test_what_was_damaged_meanwhile_is_fetched_again(
    registry: Registry, folder: Path, uninterrupted: Trees, layout: str
) -> None:
    end(half_way(folder, registry, "--layout", layout), signal.SIGKILL)
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > 1 << 20:
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 3)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes([byte ^ 1]))

    again(folder, registry, "--layout", layout)

    assert tree_files(folder / "cache") == uninterrupted[layout]


def test_other_images_begin_anew(registry: Registry, folder: Path) -> None:
    """Nothing is left of the first run when the list has changed."""
    end(half_way(folder, registry), signal.SIGKILL)
    registry.heal()
    line = f"{registry.host}/team/other:v1"
    path = str(folder / "cache")
    done = cli.run(
        "images", "cache-create", "--image-cache-path", path, "--images", "-", stdin=line
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["cache"]


def test_a_run_beside_one_that_runs(registry: Registry, folder: Path) -> None:
    """It does not wait for the other one, and does not touch what that one has."""
    process = half_way(folder, registry)
    registry.heal()
    done = cli.run(*arguments(folder, registry))
    assert done.returncode == 0, done.stderr
    assert process.poll() is None
    (partial,) = [path for path in folder.iterdir() if path.name != "cache"]
    assert partial.name.startswith(".cache.")
    end(process, signal.SIGKILL)


@LAYOUTS
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_layer_cache_keeps_what_came(
    *,
    registry: Registry,
    folder: Path,
    tmp_path: Path,
    uninterrupted: Trees,
    layout: str,
    number: signal.Signals,
) -> None:
    options = ("--layout", layout, "--layer-cache", str(tmp_path / "layers"))
    said = end(half_way(folder, registry, *options), number)
    assert "Traceback" not in said
    if number is signal.SIGTERM:
        assert not any(folder.iterdir())

    asked = again(folder, registry, *options)

    (rest,) = [request for request in asked if not request.path.endswith(sha256(CONFIG))]
    assert rest.path.endswith(sha256(LARGEST))
    assert rest.start == HALF
    assert tree_files(folder / "cache") == uninterrupted[layout]


def test_two_runs_fetch_a_layer_once(registry: Registry, tmp_path: Path) -> None:
    layers = str(tmp_path / "layers")
    processes = []
    for name in ("a", "b", "c"):
        folder = tmp_path / name / "folder"
        folder.mkdir(parents=True)
        command = [*cli.IMAGER, *arguments(folder, registry, "--layer-cache", layers)]
        processes.append(
            subprocess.Popen(command, env=cli.environment(), stdout=subprocess.DEVNULL)
        )
    assert [process.wait(SECONDS) for process in processes] == [0, 0, 0]
    asked = [request.path for request in blobs(registry)]
    for layer in LAYERS:
        assert sum(path.endswith(sha256(layer)) for path in asked) == 1
    assert len({str(sorted(tree_files(tmp_path / n / "folder/cache").items())) for n in "abc"}) == 1
    assert sorted(path.name for path in Path(layers).iterdir()) == sorted(
        f"sha256-{digest}" for digest in BLOBS
    )


@LAYOUTS
def test_a_dry_run_tells_what_is_to_come(
    registry: Registry, folder: Path, tmp_path: Path, layout: str
) -> None:
    """Sizes are those of the manifests, and of what an earlier run has left."""

    def told(*options: str) -> dict[str, Any]:
        done = cli.run(*arguments(folder, registry, "--layout", layout, *options))
        assert done.returncode == 0, done.stderr
        plan: dict[str, Any] = json.loads(done.stdout)
        return plan

    total = sum(map(len, BLOBS.values()))
    before = told("--dry-run", "--json")
    assert not any(folder.iterdir())
    assert (before["images"], before["blobs"]) == (1, len(BLOBS))
    assert (before["toFetch"], before["keptFromBefore"]) == (total, 0)
    assert before["spaceNeeded"] >= total

    end(half_way(folder, registry, "--layout", layout), signal.SIGKILL)
    registry.heal()
    left = told("--dry-run", "--json")
    assert left["keptFromBefore"] > total - len(LARGEST)
    assert left["toFetch"] == total - left["keptFromBefore"]

    layers = str(tmp_path / "layers")
    made = told("--json", "--layer-cache", layers)
    assert made["size"] == before["size"]
    if layout == "oci":
        path = folder / "cache/blobs/sha256" / made["layer"]["digest"].removeprefix("sha256:")
        assert path.stat().st_size == made["layer"]["size"] == before["writtenSize"]
    else:
        assert made["layer"] is None
    # The size of a cache is that of the files of its tree, however it is packed.
    files = json.loads(cli.run("images", "cache-info", folder / "cache", "--json").stdout)
    assert files["size"] == before["size"] > total
    if layout == "flat":
        assert sum(map(len, tree_files(folder / "cache").values())) == before["size"]
    again = told("--force", "--dry-run", "--json", "--layer-cache", layers)
    assert again["toFetch"] == 0


@LAYOUTS
def test_kills_at_any_moment(
    registry: Registry, folder: Path, uninterrupted: Trees, layout: str
) -> None:
    """Whatever a kill met (manifests, blobs, the layer, the rename), the next run copes."""
    command = [*cli.IMAGER, *arguments(folder, registry, "--layout", layout, "--force")]
    started = time.monotonic()
    subprocess.run(command, env=cli.environment(), stdout=subprocess.DEVNULL, check=True)
    whole = time.monotonic() - started
    for part in range(4, 11):
        process = subprocess.Popen(
            command, env=cli.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(whole * part / 10)
        process.kill()
        process.wait(SECONDS)
        assert tree_files(folder / "cache") == uninterrupted[layout]
    again(folder, registry, "--layout", layout, "--force")
    assert tree_files(folder / "cache") == uninterrupted[layout]
