"""`imager node run` on loop devices: what ends in which status, with which reason."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, flip, make_flat, tree_files
from tests.lib.machines.loop_devices import loop_device, loop_volume, scan
from tests.lib.machines.node import (
    NodePlace,
    build_image,
    empty_disk,
    machine_config,
    node_running,
)
from tests.lib.registries.serving import TIMEOUT
from tests.lib.tools.cli import MIB, cut, fingerprint, partitions, run, tool

pytestmark = pytest.mark.root
NOTHING = "no partition labelled IMAGECACHE"
DOCUMENT = "apiVersion: v1alpha1\nkind: ImageCacheConfig\nlocal:\n  enabled: true\n"


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=3, blob_size=2 * MIB)


@pytest.fixture(scope="module")
def iso(flat: CacheFixture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_image("iso", flat.folder, tmp_path_factory.mktemp("iso"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[NodePlace]:
    place = NodePlace(tmp_path, tmp_path / "certs.d")
    yield place
    # A run that was killed leaves them.
    for folder in place.mounts.glob("*"):
        if folder.is_mount():
            tool("umount", folder)


def test_an_iso_is_copied_to_an_empty_disk_and_is_not_needed_again(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    image = empty_disk(place.folder / "disk", 200 * MIB)
    with loop_device(image) as disk:
        place.config.write_text(machine_config(disk=disk))
        with loop_device(iso, read_only=True) as medium, node_running(place, disk, medium) as node:
            spec = node.settled("ready", "ready")
            assert spec["roots"] == [str(place.disk), str(place.medium_root(medium))]
            assert spec["reason"] == spec["copyReason"] == ""
            sizes = {volume["size"] for volume in spec["volumes"]}
            assert sizes == {sum(map(len, flat.files.values()))}
            assert place.status() == spec
            copied = tree_files(place.disk)
            assert {path: copied.get(path) for path in flat.files} == flat.files
            assert (place.hosts / "_default/hosts.toml").is_file()
            assert os.statvfs(place.disk).f_flag & os.ST_RDONLY
            steps = node.steps
            assert steps[0] == "waiting for the image cache"
            order = [
                "waiting for the image cache copy",
                "copying image cache",
                "image cache copied",
            ]
            assert [step for step in steps if step in order] == order
            assert "no problems found" in place.doctor(disk, medium)
        assert not place.disk.is_mount()
        tool("sgdisk", "-v", disk)
        with node_running(place, disk) as node:
            spec = node.settled("ready", "skipped")
            assert spec["roots"] == [str(place.disk)]
            assert "no ISO" in spec["copyReason"]
            digest = f"sha256:{flat.blobs[0].name.removeprefix('sha256-')}"
            assert node.ask(f"/v2/team/img0/blobs/{digest}").data == flat.blobs[0].read_bytes()
    tool("sgdisk", "-v", image)


def test_a_disk_image_on_a_larger_disk_is_ready_at_once_and_its_table_grows(
    flat: CacheFixture, place: NodePlace
) -> None:
    image = build_image("metal", flat.folder, place.folder / "build", "--image-disk-size=2GiB")
    with image.open("r+b") as file:
        file.truncate(3 << 30)
    place.config.write_text(machine_config())
    with loop_device(image) as disk:
        assert "end of the disk" in tool("sgdisk", "-v", disk)
        with node_running(place, disk) as node:
            spec = node.settled("ready", "skipped")
            assert spec["roots"] == [str(place.disk)]
            assert [volume["images"] for volume in spec["volumes"]] == [3]
            grown = [each for each in node.events if each.get("text", "").startswith("partition")]
            assert [each["gained"] for each in grown] == ["1 GiB"]
        assert "No problems found" in tool("sgdisk", "-v", disk)


def test_a_volume_grows_when_it_may(flat: CacheFixture, place: NodePlace) -> None:
    image = build_image("metal", flat.folder, place.folder / "build", "--image-disk-size=2GiB")
    before = {each.label: each.size for each in partitions(image)[1]}
    with image.open("r+b") as file:
        file.truncate(3 << 30)
    with loop_device(image) as disk:
        place.config.write_text(machine_config(disk=disk, max_size="8GiB", grow=True))
        with node_running(place, disk) as node:
            node.settled("ready", "skipped")
            status = os.statvfs(place.disk)
        after = {each.label: each.size for each in partitions(disk)[1]}
    assert after["IMAGECACHE"] - before["IMAGECACHE"] == 1 << 30
    assert status.f_blocks * status.f_frsize > before["IMAGECACHE"] + (900 << 20)
    (volume,) = [each for each in partitions(image)[1] if each.label == "IMAGECACHE"]
    tool("e2fsck", "-fn", cut(image, volume.start, volume.size, place.folder / "volume"))


def test_a_disk_that_is_too_small_is_told_and_the_iso_serves(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    image = empty_disk(place.folder / "disk", 24 * MIB)
    before = image.read_bytes()
    with loop_device(image) as disk, loop_device(iso, read_only=True) as medium:
        place.config.write_text(machine_config(disk=disk))
        with node_running(place, disk, medium) as node:
            spec = node.wait_for(lambda spec: spec["copyReason"])
            assert (spec["status"], spec["copyStatus"]) == ("ready", "pending")
            assert spec["roots"] == [str(place.medium_root(medium))]
            assert "too small by 10 MiB" in spec["copyReason"]
            assert node.ask("/v2/team/img0/manifests/v1").status == 200
            assert "too small by 10 MiB" in place.doctor(disk, medium)
    assert image.read_bytes() == before


def test_a_volume_that_the_cache_does_not_fit_is_told_by_how_much(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    image = empty_disk(place.folder / "disk", 200 * MIB)
    with loop_device(image) as disk, loop_device(iso, read_only=True) as medium:
        place.config.write_text(machine_config(disk=disk, min_size="8MiB", max_size="8MiB"))
        with node_running(place, disk, medium) as node:
            spec = node.wait_for(lambda spec: spec["copyReason"])
            assert (spec["status"], spec["copyStatus"]) == ("ready", "pending")
            assert spec["roots"] == [str(place.disk), str(place.medium_root(medium))]
            assert re.search(r"too small by \d", spec["copyReason"])
            assert not list(place.disk.glob("manifests"))
            assert "too small by" in place.doctor(disk, medium)


def test_without_a_volume_config_the_iso_serves_and_nothing_is_copied(
    iso: Path, place: NodePlace
) -> None:
    """Turned on by the document of later releases."""
    image = empty_disk(place.folder / "disk", 200 * MIB)
    place.config.write_text(DOCUMENT)
    with (
        loop_device(image) as disk,
        loop_device(iso, read_only=True) as medium,
        node_running(place, disk, medium) as node,
    ):
        spec = node.settled("ready", "skipped")
        assert spec["roots"] == [str(place.medium_root(medium))]
        assert "no VolumeConfig" in spec["copyReason"]
    assert not any(image.read_bytes())


def test_without_any_volume_the_cache_is_disabled_until_one_comes(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    stick = empty_disk(place.folder / "stick", 0)
    image = empty_disk(place.folder / "disk", 200 * MIB)
    with loop_device(stick) as medium, loop_device(image) as disk:
        place.config.write_text(machine_config(disk=disk))
        with node_running(place, disk, medium, wait=1) as node:
            spec = node.wait_for(lambda spec: spec["status"] == "disabled")
            assert NOTHING in spec["reason"]
            assert spec["roots"] == []
            assert node.ask("/v2/team/img0/manifests/v1?ns=registry.local").status == 404
            spec = node.wait_for(lambda spec: spec["absent"])
            assert spec["absent"] == ["registry.local/team/img0:v1"]
            assert "no volume with an image cache" in place.doctor(disk, medium)

            shutil.copyfile(iso, stick)
            tool("losetup", "--set-capacity", medium)
            spec = node.settled("ready", "ready")
            assert spec["roots"] == [str(place.disk), str(place.medium_root(medium))]
            node.answered("/v2/team/img0/manifests/v1", 200)


def test_a_stick_that_is_pulled_out_is_gone(iso: Path, place: NodePlace) -> None:
    stick, image = place.folder / "stick", empty_disk(place.folder / "disk", 200 * MIB)
    shutil.copyfile(iso, stick)
    with loop_device(stick, read_only=True) as medium, loop_device(image) as disk:
        place.config.write_text(machine_config(disk=disk))
        with node_running(place, disk, medium) as node:
            node.settled("ready", "ready")
            os.truncate(stick, 0)
            tool("losetup", "--set-capacity", medium)
            spec = node.settled("ready", "skipped")
            assert spec["roots"] == [str(place.disk)]
            assert "no ISO" in spec["copyReason"]
            node.answered("/v2/team/img0/manifests/v1", 200)


def test_a_medium_that_cannot_be_read_is_told_and_the_disk_serves(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    bad = place.folder / "bad.iso"
    shutil.copyfile(iso, bad)
    os.truncate(bad, 1 * MIB)
    image = empty_disk(place.folder / "disk", 200 * MIB)
    place.config.write_text(machine_config())
    with loop_volume(bad) as medium:
        with node_running(place, medium, wait=1) as node:
            spec = node.wait_for(lambda spec: spec["status"] == "disabled")
            assert str(medium) in spec["reason"]
            assert NOTHING not in spec["reason"]
            assert str(medium) in place.doctor(medium)
        with loop_device(image) as disk:
            place.config.write_text(machine_config(disk=disk))
            with (
                loop_device(iso, read_only=True) as good,
                node_running(place, disk, good) as node,
            ):
                node.settled("ready", "ready")
            with node_running(place, disk, medium) as node:
                spec = node.wait_for(lambda spec: spec["copyReason"])
                assert (spec["status"], spec["copyStatus"]) == ("ready", "pending")
                assert str(medium) in spec["reason"]
                node.answered("/v2/team/img0/manifests/v1", 200)


def test_a_stick_that_is_swapped_for_another_is_noticed(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    """By nothing but the kernel's count of disks."""
    other = make_flat(place.folder / "other", images=1, blob_size=MIB, registry="new.example")
    sticks = [place.folder / "first", place.folder / "second"]
    shutil.copyfile(iso, sticks[0])
    shutil.copyfile(build_image("iso", other.folder, place.folder / "build"), sticks[1])
    for stick in sticks:
        os.truncate(stick, 64 * MIB)
    place.config.write_text(machine_config())
    with loop_volume(sticks[0]) as medium, node_running(place, medium) as node:
        node.settled("ready", "skipped")
        assert node.ask("/v2/team/img2/manifests/v1").status == 200
        tool("losetup", "-d", medium)
        tool("losetup", medium, sticks[1])
        node.wait_for(lambda spec: [each["images"] for each in spec["volumes"]] == [1])
        node.answered("/v2/team/img0/manifests/v1?ns=new.example", 200)
        node.answered("/v2/team/img2/manifests/v1", 404)


def test_a_newer_cache_comes_to_an_installed_node_and_nothing_is_lost(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    newer = make_flat(place.folder / "newer", images=2, blob_size=MIB, registry="new.example")
    image = empty_disk(place.folder / "disk", 200 * MIB)
    newer_iso = build_image("iso", newer.folder, place.folder / "build")
    with loop_device(image) as disk:
        place.config.write_text(machine_config(disk=disk))
        for medium_image in (iso, newer_iso):
            with (
                loop_device(medium_image, read_only=True) as medium,
                node_running(place, disk, medium) as node,
            ):
                node.settled("ready", "ready")
        with node_running(place, disk) as node:
            node.settled("ready", "skipped")
            files = tree_files(place.disk)
            assert (flat.files | newer.files).items() <= files.items()


def test_a_damaged_blob_is_not_copied_and_the_rest_is_served(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    bad = place.folder / "bad.iso"
    shutil.copyfile(iso, bad)
    blob = max(flat.blobs, key=lambda path: path.stat().st_size)
    data = bad.read_bytes()
    flip(bad, data.index(blob.read_bytes()) + 70_000)
    digest = blob.name.replace("-", ":")
    image = empty_disk(place.folder / "disk", 200 * MIB)
    with loop_device(image) as disk, loop_device(bad, read_only=True) as medium:
        place.config.write_text(machine_config(disk=disk))
        with node_running(place, disk, medium) as node:
            spec = node.wait_for(lambda spec: spec["copyReason"])
            assert (spec["status"], spec["copyStatus"]) == ("ready", "pending")
            assert digest in spec["copyReason"]
            assert not list(place.disk.glob("manifests/*"))
            good = {path.name for path in flat.blobs} - {blob.name}
            assert good <= {path.name for path in (place.disk / "blob").iterdir()}
            node.answered(f"/v2/team/img0/blobs/{digest}", 404)
            spec = node.wait_for(lambda spec: spec["damaged"])
            assert digest in spec["damaged"][0]
            said = place.doctor(disk, medium)
            assert re.search(rf"^{medium}: .*{digest}", said, re.MULTILINE)


def test_a_damaged_medium_does_not_keep_another_from_being_copied(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    bad = place.folder / "bad.iso"
    other = make_flat(place.folder / "other", images=1, blob_size=MIB, registry="new.example")
    shutil.copyfile(build_image("iso", other.folder, place.folder / "build"), bad)
    blob = max(other.blobs, key=lambda path: path.stat().st_size)
    flip(bad, bad.read_bytes().index(blob.read_bytes()) + 70_000)
    image = empty_disk(place.folder / "disk", 200 * MIB)
    with (
        loop_device(bad, read_only=True) as first,
        loop_device(iso, read_only=True) as second,
        loop_device(image) as disk,
    ):
        assert first < second
        place.config.write_text(machine_config(disk=disk))
        with node_running(place, disk, first, second) as node:
            spec = node.wait_for(lambda spec: spec["copyReason"])
            assert (spec["status"], spec["copyStatus"]) == ("ready", "pending")
            assert blob.name.replace("-", ":") in spec["copyReason"]
            files = tree_files(place.disk)
            assert flat.files.items() <= files.items()
            assert not [path for path in files if "new.example" in path]


def test_a_blob_that_was_damaged_on_the_disk_is_served_from_the_iso(
    flat: CacheFixture, iso: Path, place: NodePlace
) -> None:
    image = empty_disk(place.folder / "disk", 200 * MIB)
    blob = max(flat.blobs, key=lambda path: path.stat().st_size)
    digest = blob.name.replace("-", ":")
    with loop_device(image) as disk, loop_device(iso, read_only=True) as medium:
        place.config.write_text(machine_config(disk=disk))
        with node_running(place, disk, medium) as node:
            node.settled("ready", "ready")
    data = image.read_bytes()
    flip(image, data.index(blob.read_bytes()[:4096]) + 2000)
    with loop_device(image) as disk, loop_device(iso, read_only=True) as medium:
        place.config.write_text(machine_config(disk=disk))
        with node_running(place, disk) as node:
            node.settled("ready", "skipped")
            # Before anybody has asked for it.
            assert digest in place.doctor(disk)
            node.answered(f"/v2/team/img0/blobs/{digest}", 404)
        with node_running(place, disk, medium) as node:
            node.settled("ready", "ready")
            assert node.answered(f"/v2/team/img0/blobs/{digest}", 200).data == blob.read_bytes()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[CacheFixture, Path]:
    """A cache that takes a while to be copied, and an ISO with it."""
    folder = tmp_path_factory.mktemp("large")
    flat = make_flat(folder / "flat", images=2, blob_size=40 * MIB)
    return flat, build_image("iso", flat.folder, folder)


def wait_for_a_copy(place: NodePlace) -> None:
    """Wait until a blob is on its way to the disk."""
    deadline = time.monotonic() + TIMEOUT
    while not list(place.disk.glob("blob/.*.partial")):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_copy_that_was_killed_is_taken_up(
    large: tuple[CacheFixture, Path], place: NodePlace
) -> None:
    flat, iso = large
    image = empty_disk(place.folder / "disk", 500 * MIB)
    with loop_device(image) as disk, loop_device(iso, read_only=True) as medium:
        place.config.write_text(machine_config(disk=disk, max_size="400MiB"))
        with node_running(place, disk, medium) as node:
            wait_for_a_copy(place)
            node.process.kill()
            node.process.wait()
        assert not list(place.disk.glob("manifests/*"))
        assert place.disk.is_mount()
        with node_running(place, disk, medium) as node:
            node.settled("ready", "ready")
            assert flat.files.items() <= tree_files(place.disk).items()


def test_a_run_that_is_ended_while_it_copies_ends_soon_and_quietly(
    large: tuple[CacheFixture, Path], place: NodePlace
) -> None:
    _, iso = large
    image = empty_disk(place.folder / "disk", 500 * MIB)
    with loop_device(image) as disk, loop_device(iso, read_only=True) as medium:
        place.config.write_text(machine_config(disk=disk, max_size="400MiB"))
        with node_running(place, disk, medium) as node:
            wait_for_a_copy(place)
            node.process.terminate()
            assert node.process.wait(timeout=TIMEOUT) == 0
            assert node.steps[-1] == "shutting down"
        assert not list(place.disk.glob("*"))
        assert not place.disk.is_mount()


def test_a_stick_with_fat_serves_as_an_iso_does(flat: CacheFixture, place: NodePlace) -> None:
    stick = build_image("iso", flat.folder, place.folder / "build", "--output-kind=usb")
    image = empty_disk(place.folder / "disk", 200 * MIB)
    with loop_device(image) as disk, loop_device(stick, read_only=True) as medium:
        place.config.write_text(machine_config(disk=disk))
        with node_running(place, disk, medium) as node:
            spec = node.settled("ready", "ready")
            assert [volume["filesystem"] for volume in spec["volumes"]] == ["ext4", "vfat"]
            copied = tree_files(place.disk)
            assert flat.files.items() <= copied.items()


def test_the_volume_is_never_made_on_the_stick_itself(flat: CacheFixture, place: NodePlace) -> None:
    """Which has a table, and room, and is found by the selector first."""
    stick = build_image("iso", flat.folder, place.folder / "build", "--output-kind=usb")
    os.truncate(stick, 300 * MIB)
    tool("sgdisk", "-e", stick)
    before = fingerprint(stick)
    image = empty_disk(place.folder / "disk", 200 * MIB)
    place.config.write_text(machine_config(match="disk.size > 100u * MiB"))
    with loop_device(stick) as medium, loop_device(image) as disk:
        assert medium < disk
        with node_running(place, disk, medium) as node:
            spec = node.settled("ready", "ready")
            assert [each["device"] for each in spec["volumes"]] == [f"{disk}p1", f"{medium}p1"]
    assert fingerprint(stick) == before


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("machine:\n  type: worker\n", "no setting enables the image cache"),
        (
            machine_config(enabled=False),
            r":4: machine\.features\.imageCache\.localEnabled is false",
        ),
        (
            "apiVersion: v1alpha1\nkind: ImageCacheConfig\nlocal:\n  enabled: false\n",
            "ImageCacheConfig: local.enabled is false",
        ),
    ],
)
def test_it_is_off_unless_it_is_turned_on(
    iso: Path, place: NodePlace, config: str, reason: str
) -> None:
    place.config.write_text(config)
    with loop_device(iso, read_only=True) as medium, node_running(place, medium) as node:
        assert node.process.wait(timeout=TIMEOUT) == 0
        spec = place.status()
        assert (spec["status"], spec["copyStatus"]) == ("disabled", "skipped")
        assert re.search(reason, spec["reason"])
        assert spec["roots"] == []
        assert re.search(reason, place.doctor(medium))


def test_both_ways_to_turn_it_on_are_an_error(place: NodePlace) -> None:
    place.config.write_text(f"{machine_config()}---\n{DOCUMENT}")
    done = run("node", "run", "--config", place.config, "--state", place.state)
    assert done.returncode == 2
    assert "the image cache is set twice" in done.stderr
    assert not place.state.exists()


@pytest.mark.parametrize("label", ["talos_v1", "MYSTICK"])
def test_the_doctor_tells_of_a_stick_with_another_label(
    flat: CacheFixture, place: NodePlace, label: str
) -> None:
    stick = build_image("iso", flat.folder, place.folder / "build", "--output-kind=usb")
    place.config.write_text(machine_config())
    with loop_device(stick) as medium:
        tool("fatlabel", f"{medium}p1", label, status=None)
        with node_running(place, medium, wait=0) as node:
            node.settled("disabled", "skipped")
            said = place.doctor(medium)
            assert repr(label) in said
            assert "must start with TALOS_ in capitals" in said
            tool("fatlabel", f"{medium}p1", "TALOS_1")
        with node_running(place, medium) as node:
            node.settled("ready", "skipped")


def test_the_doctor_tells_of_a_partition_with_its_label_in_the_wrong_case(
    flat: CacheFixture, place: NodePlace
) -> None:
    image = build_image("metal", flat.folder, place.folder / "build", "--image-disk-size=2GiB")
    number = [each.label for each in partitions(image)[1]].index("IMAGECACHE") + 1
    tool("sgdisk", f"--change-name={number}:imagecache", image)
    place.config.write_text(machine_config())
    with loop_device(image) as disk:
        with node_running(place, disk, wait=0) as node:
            node.settled("disabled", "skipped")
            said = place.doctor(disk)
            assert "'imagecache', not 'IMAGECACHE'" in said
            (command,) = re.findall(r"sgdisk --change-name=\S+ \S+", said)
        tool(*command.split())
        scan(disk)
        with node_running(place, disk) as node:
            node.settled("ready", "skipped")


def test_a_disk_is_given_by_a_link_and_not_by_a_partition(
    flat: CacheFixture, place: NodePlace
) -> None:
    image = build_image("metal", flat.folder, place.folder / "build", "--image-disk-size=2GiB")
    place.config.write_text(machine_config())
    link = place.folder / "by-id"
    with loop_device(image) as disk:
        number = [each.label for each in partitions(image)[1]].index("IMAGECACHE") + 1
        with node_running(place, Path(f"{disk}p{number}"), wait=0) as node:
            node.settled("disabled", "skipped")
        link.symlink_to(disk)
        with node_running(place, link) as node:
            node.settled("ready", "skipped")


def test_a_second_run_is_told_of_the_first(iso: Path, place: NodePlace) -> None:
    place.config.write_text(machine_config())
    with loop_device(iso, read_only=True) as medium, node_running(place, medium) as node:
        node.settled("ready", "skipped")
        done = run("node", "run", "--config", place.config, "--state", place.state)
        assert done.returncode == 4
        assert "another `imager node run`" in done.stderr
