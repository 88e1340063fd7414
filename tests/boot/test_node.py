"""The machine's half on a machine: what becomes of the image cache, with no network at all.

Here is what takes a kernel, containerd or a power cut. Everything else is tested by a process with
loop devices: `tests/oracle/test_node_run.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.boot.outputs import kernel_arguments
from tests.lib.caches.caches import make_flat, tree_files
from tests.lib.machines.hardware import Device, Drive
from tests.lib.machines.node import build_image, empty_disk, machine_config
from tests.lib.machines.node_machine import (
    boot_by_firmware,
    boot_node,
    node_arguments,
    node_assets,
)
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


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a flat tree with images that run, and others."""
    folder = tmp_path_factory.mktemp("cache") / "flat"
    make_flat(folder, images=2, blob_size=5 * MIB)
    for image in (HELLO, FAILS):
        add_runnable(folder, image)
    return folder


def booting(kind: str, cache: Path, folder: Path, arguments: list[str], *more: str) -> Path:
    """Build an image that boots the node."""
    # Talos has page tables of its own for the kernel, which take long to change emulated.
    options = kernel_arguments(*arguments, "pti=off")
    result = build(
        kind, "--assets", node_assets(), "--image-cache", cache, "--output", folder,
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


@pytest.mark.smoke
def test_the_cache_of_an_iso_is_on_the_disk_from_the_second_boot_on(
    cache: Path, tmp_path: Path
) -> None:
    """Booted by its firmware; images run by tag, then by digest."""
    disk = empty_disk(tmp_path / "disk", 256 * MIB)
    by_tag = [HELLO.reference, FAILS.reference, "docker.io/library/absent:v1"]
    iso = booting("iso", cache, tmp_path, node_arguments(CONFIG, run=by_tag))
    told = boot_by_firmware(Drive(iso, Device.CD), Drive(disk, keeps=True))
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
    assert tree_files(cache).items() <= files_of_volume(disk, tmp_path).items()

    (manifest,) = (cache / "manifests/docker.io/library/hello/digest").iterdir()
    by_digest = f"docker.io/library/hello@{manifest.name.replace('-', ':')}"
    told = boot_node(node_arguments(CONFIG, run=[by_digest]), Drive(disk, keeps=True))
    spec = told.spec
    assert (spec["status"], spec["copyStatus"]) == ("ready", "skipped")
    assert "no ISO" in spec["copyReason"]
    assert spec["roots"] == [DISK]
    assert told.ran == {by_digest: 0}


def test_a_disk_image_on_a_larger_disk_is_ready_at_once_and_its_table_and_volume_grow(
    cache: Path, tmp_path: Path
) -> None:
    config = machine_config(match="system_disk", max_size="8GiB", grow=True)
    arguments = node_arguments(config, run=[HELLO.reference])
    disk = booting("metal", cache, tmp_path, arguments, "--image-disk-size=1600MiB")
    before = {each.label: each for each in partitions(disk)[1]}
    with disk.open("r+b") as file:
        file.truncate(2 << 30)
    assert not gpt_is_sound(disk)
    told = boot_by_firmware(Drive(disk, keeps=True))
    spec = told.spec
    assert (spec["status"], spec["copyStatus"]) == ("ready", "skipped")
    assert spec["roots"] == [DISK]
    assert told.says("partition table grown to the end of the disk ")
    assert told.ran == {HELLO.reference: 0}
    assert gpt_is_sound(disk)
    after = {each.label: each for each in partitions(disk)[1]}
    assert after["IMAGECACHE"].size - before["IMAGECACHE"].size == (2 << 30) - (1600 << 20)
    assert {**after, "IMAGECACHE": None} == {**before, "IMAGECACHE": None}
    assert tree_files(cache).items() <= files_of_volume(disk, tmp_path).items()


def test_power_may_fail_at_any_moment_of_the_copy_and_a_newer_cache_comes_on_top(
    cache: Path, tmp_path: Path
) -> None:
    """Of what no flush has followed some is on the disk and some is not.

    The ISO is not booted from, and the newer cache comes on a stick, with FAT.
    """
    iso = Drive(build_image("iso", cache, tmp_path / "iso"), Device.CD)
    disk, log = empty_disk(tmp_path / "disk", 256 * MIB), empty_disk(tmp_path / "log", 0)
    told = boot_node(node_arguments(CONFIG), iso, Drive(disk, keeps=True, log=log))
    assert (told.spec["status"], told.spec["copyStatus"]) == ("ready", "ready")
    writes = WriteLog.read(log)
    whole = empty_disk(tmp_path / "whole", 256 * MIB)
    writes.replay(whole, len(writes.epochs), seed=0)
    assert fingerprint(whole) == fingerprint(disk)
    states = {
        state_after_cut(writes, each, tree_files(cache), tmp_path)
        for each in range(len(writes.epochs))
    }
    assert {"no volume", "nothing named", "named"} <= states

    after = empty_disk(tmp_path / "after", 256 * MIB)
    writes.replay(after, len(writes.epochs) // 2, seed=0)
    told = boot_node(node_arguments(CONFIG), iso, Drive(after, keeps=True))
    assert (told.spec["status"], told.spec["copyStatus"]) == ("ready", "ready")
    assert told.spec["roots"] == [DISK, ISO]
    assert gpt_is_sound(after)
    assert tree_files(cache).items() <= files_of_volume(after, tmp_path).items()
    assert_newer_is_added(after, cache, tmp_path)


def state_after_cut(writes: WriteLog, cut_at: int, cached: dict[str, bytes], folder: Path) -> str:
    """Return what there is after a cut, all of which is as it was `cached`."""
    after = empty_disk(folder / "after", 256 * MIB)
    writes.replay(after, cut_at, seed=cut_at)
    volume = volume_after_cut(after, folder)
    if volume is None:
        return "no volume"
    names = {path for path in cached if "/reference/" in path}
    files = files_of(volume, folder)
    named = names & files.keys()
    # What has a name is whole, and a name comes when all is there.
    for path, data in files.items():
        assert path not in cached or data == cached[path]
    if named:
        assert {path for path in cached if path.startswith("blob/")} <= files.keys()
    return "named" if named == names else "some named" if named else "nothing named"


def assert_newer_is_added(disk: Path, cache: Path, folder: Path) -> None:
    """Boot a node that has `cache` with a newer one on a stick."""
    newer = folder / "newer"
    make_flat(newer, images=1, blob_size=3 * MIB, registry="new.example")
    moved = RunnableImage(HELLO.registry, HELLO.repository, HELLO.tag, "hello from the newer one")
    add_runnable(newer, moved)
    stick = build_image("iso", newer, folder / "build", "--output-kind=usb")
    arguments = node_arguments(CONFIG, run=[HELLO.reference, FAILS.reference])
    told = boot_node(arguments, Drive(stick, Device.USB), Drive(disk, keeps=True))
    assert (told.spec["status"], told.spec["copyStatus"]) == ("ready", "ready")
    assert [each["filesystem"] for each in told.spec["volumes"]] == ["ext4", "vfat"]
    assert told.ran == {HELLO.reference: 0, FAILS.reference: 3}
    assert told.says(moved.says)
    tag = "manifests/docker.io/library/hello/reference/v1"
    kept = {path: data for path, data in tree_files(cache).items() if path != tag}
    assert (kept | tree_files(newer)).items() <= files_of_volume(disk, folder).items()


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
