"""The machine's half on a machine: what becomes of the image cache, with no network at all."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, flip, make_flat, tree_files
from tests.lib.machines.node import build_image, empty_disk, machine_config
from tests.lib.machines.node_machine import (
    boot_disk,
    boot_medium,
    boot_node,
    node_arguments,
    node_assets,
)
from tests.lib.machines.qemu import Device
from tests.lib.machines.runnable import RunnableImage, add_runnable
from tests.lib.machines.write_log import WriteLog
from tests.lib.tools.cli import MIB, build, cut, fingerprint, gpt_is_sound, partitions, tool

pytestmark = pytest.mark.boot

DISK, ISO = "/system/imagecache/disk", "/system/imagecache/iso/imagecache"
HELLO = RunnableImage("docker.io", "library/hello", "v1", "hello from the cache")
FAILS = RunnableImage("registry.local", "team/fails", "v1", "this one fails", exits=3)
# A node takes the whole language of selectors.
MATCH = "disk.transport == 'virtio' && [disk].filter(d, d.size > 16u * MB).size() == 1"
CONFIG = machine_config(match=MATCH, max_size="128MiB")


@dataclass(frozen=True, slots=True)
class Cache:
    """A flat tree with images that run, and others; its large blobs are those of `fixture`."""

    folder: Path
    fixture: CacheFixture

    @property
    def files(self) -> dict[str, bytes]:
        return tree_files(self.folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    folder = tmp_path_factory.mktemp("cache") / "flat"
    fixture = make_flat(folder, images=2, blob_size=5 * MIB)
    for image in (HELLO, FAILS):
        add_runnable(folder, image)
    return Cache(folder, fixture)


@pytest.fixture(scope="module")
def iso(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ISO that is not booted from."""
    return build_image("iso", cache.folder, tmp_path_factory.mktemp("iso"))


def booting(kind: str, cache: Cache, folder: Path, arguments: list[str], *more: str) -> Path:
    """Build an image that boots the node."""
    options = [word for each in arguments for word in ("--extra-kernel-arg", each)]
    result = build(
        kind, "--assets", node_assets(), "--image-cache", cache.folder, "--output", folder,
        "--out-format", "raw", *options, *more,
    )  # fmt: skip
    return Path(result["output"])


def files_of_volume(disk: Path, folder: Path) -> dict[str, bytes]:
    """Return the files of the volume IMAGECACHE, checked and read by e2fsprogs."""
    (volume,) = [each for each in partitions(disk)[1] if each.label == "IMAGECACHE"]
    image = cut(disk, volume.start, volume.size, folder / "volume")
    tool("e2fsck", "-fn", image)
    return files_of(image, folder)


def files_of(volume: Path, folder: Path) -> dict[str, bytes]:
    """Return the files of an ext4 volume, read by debugfs."""
    target = folder / "files"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    tool("debugfs", "-R", f"rdump / {target}", volume)
    return tree_files(target)


def test_the_cache_of_an_iso_is_on_the_disk_from_the_second_boot_on(
    cache: Cache, tmp_path: Path
) -> None:
    """Booted by its firmware; images run by tag, then by digest."""
    disk = empty_disk(tmp_path / "disk", 256 * MIB)
    by_tag = [HELLO.reference, FAILS.reference, "docker.io/library/absent:v1"]
    iso = booting("iso", cache, tmp_path, node_arguments(CONFIG, run=by_tag))
    told = boot_medium(iso, disk=disk)
    spec = told.spec
    assert (spec["status"], spec["copyStatus"]) == ("ready", "ready")
    assert spec["roots"] == [DISK, ISO]
    assert told.ran == {HELLO.reference: 0, FAILS.reference: 3}
    assert told.says(
        "waiting for the image cache",
        "waiting for the image cache copy",
        "copying image cache ",
        "image cache copied ",
        "node: ready",
        HELLO.says,
    )
    assert told.says("node: pull of docker.io/library/absent:v1 failed: ")
    assert spec["absent"] == ["docker.io/library/absent:v1"]
    assert gpt_is_sound(disk)
    assert cache.files.items() <= files_of_volume(disk, tmp_path).items()

    (manifest,) = (cache.folder / "manifests/docker.io/library/hello/digest").iterdir()
    by_digest = f"docker.io/library/hello@{manifest.name.replace('-', ':')}"
    told = boot_node(node_arguments(CONFIG, run=[by_digest]), disk=disk)
    spec = told.spec
    assert (spec["status"], spec["copyStatus"]) == ("ready", "skipped")
    assert "no ISO" in spec["copyReason"]
    assert spec["roots"] == [DISK]
    assert told.ran == {by_digest: 0}


def test_a_disk_image_on_a_larger_disk_is_ready_at_once_and_its_table_and_volume_grow(
    cache: Cache, tmp_path: Path
) -> None:
    config = machine_config(match="system_disk", max_size="8GiB", grow=True)
    arguments = node_arguments(config, run=[HELLO.reference])
    disk = booting("metal", cache, tmp_path, arguments, "--image-disk-size=1600MiB")
    before = {each.label: each for each in partitions(disk)[1]}
    with disk.open("r+b") as file:
        file.truncate(2 << 30)
    assert not gpt_is_sound(disk)
    told = boot_disk(disk)
    spec = told.spec
    assert (spec["status"], spec["copyStatus"]) == ("ready", "skipped")
    assert spec["roots"] == [DISK]
    assert told.says("partition table grown to the end of the disk ")
    assert told.ran == {HELLO.reference: 0}
    assert gpt_is_sound(disk)
    after = {each.label: each for each in partitions(disk)[1]}
    assert after["IMAGECACHE"].size - before["IMAGECACHE"].size == (2 << 30) - (1600 << 20)
    assert {**after, "IMAGECACHE": None} == {**before, "IMAGECACHE": None}
    assert cache.files.items() <= files_of_volume(disk, tmp_path).items()


def test_a_disk_that_is_too_small_leaves_the_iso_to_serve(iso: Path, tmp_path: Path) -> None:
    disk = empty_disk(tmp_path / "disk", 24 * MIB)
    told = boot_node(
        node_arguments(CONFIG, run=[HELLO.reference]), medium=(iso, Device.CD), disk=disk
    )
    spec = told.spec
    assert (spec["status"], spec["copyStatus"]) == ("ready", "pending")
    assert "too small by" in spec["copyReason"]
    assert spec["roots"] == [ISO]
    assert told.ran == {HELLO.reference: 0}
    assert not any(disk.read_bytes())


def test_without_a_volume_it_says_so_and_goes_on() -> None:
    spec = boot_node(node_arguments(CONFIG)).spec
    assert (spec["status"], spec["copyStatus"]) == ("disabled", "skipped")
    assert "no image cache found: no partition labelled IMAGECACHE" in spec["reason"]
    assert spec["roots"] == []


def test_a_cache_that_is_not_turned_on_is_not_used(iso: Path, tmp_path: Path) -> None:
    disk = empty_disk(tmp_path / "disk", 256 * MIB)
    config = machine_config(enabled=False, match="disk.transport == 'virtio'")
    told = boot_node(node_arguments(config), medium=(iso, Device.CD), disk=disk)
    spec = told.spec
    assert (spec["status"], spec["copyStatus"]) == ("disabled", "skipped")
    assert "localEnabled is false" in spec["reason"]
    assert not any(disk.read_bytes())


def test_a_damaged_blob_keeps_nothing_else_from_being_served(
    cache: Cache, iso: Path, tmp_path: Path
) -> None:
    bad, blob = tmp_path / "bad.iso", max(cache.fixture.blobs, key=lambda path: path.stat().st_size)
    shutil.copyfile(iso, bad)
    flip(bad, bad.read_bytes().index(blob.read_bytes()) + MIB)
    disk = empty_disk(tmp_path / "disk", 256 * MIB)
    arguments = node_arguments(CONFIG, run=[HELLO.reference])
    told = boot_node(arguments, medium=(bad, Device.CD), disk=disk)
    spec = told.spec
    assert (spec["status"], spec["copyStatus"]) == ("ready", "pending")
    assert blob.name.replace("-", ":") in spec["copyReason"]
    assert told.ran == {HELLO.reference: 0}
    assert not [path for path in files_of_volume(disk, tmp_path) if "reference" in path]


def test_a_newer_cache_is_added_to_an_installed_node(
    cache: Cache, iso: Path, tmp_path: Path
) -> None:
    """The newer one comes on a stick, with FAT."""
    disk = empty_disk(tmp_path / "disk", 256 * MIB)
    told = boot_node(node_arguments(CONFIG), medium=(iso, Device.CD), disk=disk)
    assert (told.spec["status"], told.spec["copyStatus"]) == ("ready", "ready")

    newer = tmp_path / "newer"
    make_flat(newer, images=1, blob_size=3 * MIB, registry="new.example")
    moved = RunnableImage(HELLO.registry, HELLO.repository, HELLO.tag, "hello from the newer one")
    add_runnable(newer, moved)
    stick = build_image("iso", newer, tmp_path / "build", "--output-kind=usb")
    arguments = node_arguments(CONFIG, run=[HELLO.reference, FAILS.reference])
    told = boot_node(arguments, medium=(stick, Device.USB), disk=disk)
    assert (told.spec["status"], told.spec["copyStatus"]) == ("ready", "ready")
    assert [each["filesystem"] for each in told.spec["volumes"]] == ["ext4", "vfat"]
    assert told.ran == {HELLO.reference: 0, FAILS.reference: 3}
    assert told.says(moved.says)
    tag = "manifests/docker.io/library/hello/reference/v1"
    wanted = {path: data for path, data in cache.files.items() if path != tag} | tree_files(newer)
    assert wanted.items() <= files_of_volume(disk, tmp_path).items()


def test_power_may_fail_at_any_moment_of_the_copy(cache: Cache, iso: Path, tmp_path: Path) -> None:
    """Of what no flush has followed some is on the disk and some is not."""
    disk, log = empty_disk(tmp_path / "disk", 256 * MIB), empty_disk(tmp_path / "log", 0)
    told = boot_node(node_arguments(CONFIG), medium=(iso, Device.CD), disk=disk, log=log)
    assert (told.spec["status"], told.spec["copyStatus"]) == ("ready", "ready")
    writes = WriteLog.read(log)
    whole = empty_disk(tmp_path / "whole", 256 * MIB)
    writes.replay(whole, len(writes.epochs), seed=0)
    assert fingerprint(whole) == fingerprint(disk)

    names = {path for path in cache.files if "/reference/" in path}
    states = set()
    for cut_at in range(len(writes.epochs)):
        after = empty_disk(tmp_path / "after", 256 * MIB)
        writes.replay(after, cut_at, seed=cut_at)
        volume = volume_after_cut(after, tmp_path)
        if volume is None:
            states.add("no volume")
            continue
        files = files_of(volume, tmp_path)
        named = names & files.keys()
        # What has a name is whole, and a name comes when all is there.
        for path, data in files.items():
            assert path not in cache.files or data == cache.files[path]
        if named:
            assert {path for path in cache.files if path.startswith("blob/")} <= files.keys()
        states.add("named" if named == names else "some named" if named else "nothing named")
    assert {"no volume", "nothing named", "named"} <= states

    middle = len(writes.epochs) // 2
    after = empty_disk(tmp_path / "after", 256 * MIB)
    writes.replay(after, middle, seed=0)
    told = boot_node(
        node_arguments(CONFIG, run=[HELLO.reference]), medium=(iso, Device.CD), disk=after
    )
    assert (told.spec["status"], told.spec["copyStatus"]) == ("ready", "ready")
    assert told.spec["roots"] == [DISK, ISO]
    assert told.ran == {HELLO.reference: 0}
    assert gpt_is_sound(after)
    assert cache.files.items() <= files_of_volume(after, tmp_path).items()


def volume_after_cut(disk: Path, folder: Path) -> Path | None:
    """Return the volume IMAGECACHE of a disk, its journal replayed; None without a partition."""
    said = tool("sfdisk", "-J", disk, status=None)
    if '"IMAGECACHE"' not in said:
        return None
    (volume,) = [each for each in partitions(disk)[1] if each.label == "IMAGECACHE"]
    image = cut(disk, volume.start, volume.size, folder / "volume")
    # Exit code 1 says that errors were mended, which replaying is none of.
    tool("e2fsck", "-p", image)
    tool("e2fsck", "-fn", image)
    return image
