"""The volume IMAGECACHE made on real loop devices; sgdisk, sfdisk, e2fsck, blkid and ext4 judge.

Needs root. The kernel need not read partition tables: `tests.lib.machines.loop_devices` tells it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imager.formats.gpt.read import read_gpt, read_table
from imager.node import provision
from imager.node import resize as growing
from imager.node.blkid import is_blank, probe
from imager.node.blkpg import add_partition
from imager.node.devices import find_device, is_in_use, list_devices
from imager.node.mounting import mount, mounted_at, unmount
from imager.node.provision import VolumePlacement, make_volume, plan_volume
from imager.node.resize import grow_disk, grow_volume
from imager.node.systemdisk import find_system_disk
from imager.support.blockdevices import BlockDevice
from imager.support.errors import HostError, ImagerError, InputError, UnsupportedError
from imager.support.tools import find_tool, run_tool
from imager.talos.config.selector import Selector
from imager.talos.config.sizes import SizeLimit, parse_size_limit
from imager.talos.config.volumes import VolumeSettings
from tests.lib.caches.caches import flip
from tests.lib.machines.loop_devices import loop_device, loop_volume, scan
from tests.oracle.test_gpt_oracle import sfdisk_table, sgdisk_finds_it_sound

pytestmark = [pytest.mark.oracle, pytest.mark.root]

MIB = 1 << 20
SIZE = 200 * MIB
TALOS = """\
label: gpt
size=10MiB, name=EFI, type=uefi
size=1MiB, name=META
size=20MiB, name=STATE
"""


def settings(
    match: str = "disk.size < 1u * GiB && !disk.readonly", **changes: Any
) -> VolumeSettings:
    plain = VolumeSettings(
        Selector.parse(match), 50 * MIB, SizeLimit(100 * MIB), grow=False, encrypted=False, line=1
    )
    return replace(plain, **changes)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A blank disk."""
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, SIZE)
    return path


def devices_of(disk: Path) -> tuple[BlockDevice, ...]:
    """Return the disk and its partitions, none of this machine's others."""
    return tuple(each for each in list_devices() if disk in (each.path, each.parent))


def device(path: Path) -> BlockDevice:
    found = find_device(path)
    assert found is not None
    return found


def plan_on(disk: Path, wanted: VolumeSettings | None = None) -> VolumePlacement:
    return plan_volume(wanted or settings(), devices_of(disk), None)


def partition_with(disk: Path, script: str) -> None:
    """Write a table as sfdisk does, and noise into every partition."""
    subprocess.run(
        [find_tool("sfdisk", package="fdisk"), "-q", "--no-reread", disk],
        input=script.encode(),
        check=True,
        timeout=60,
    )
    scan(disk)
    for each in devices_of(disk):
        if each.number:
            each.path.write_bytes(hashlib.shake_128(bytes([each.number])).digest(100_000))


def contents(disk: Path) -> dict[int, str]:
    """Return a hash of each partition that is not the volume."""
    return {
        each.number: hashlib.sha256(each.path.read_bytes()).hexdigest()
        for each in devices_of(disk)
        if each.number and each.partition_label != "IMAGECACHE"
    }


def entries_of(disk: Path) -> list[dict[str, Any]]:
    """Return the entries of a table whose disk may be another loop device next time."""
    return [{**each, "node": ""} for each in sfdisk_table(disk)["partitions"]]


def e2fsck_finds_it_sound(path: Path) -> bool:
    argv: list[str | Path] = [find_tool("e2fsck", package="e2fsprogs"), "-fn", path]
    return subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode == 0


def blkid(path: Path) -> dict[str, str]:
    said = run_tool(["blkid", "-p", "-o", "export", path], package="util-linux").decode()
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


@contextmanager
def mounted(path: Path, target: Path, *, writable: bool = True) -> Iterator[Path]:
    mount(path, target, "ext4", writable=writable)
    try:
        yield target
    finally:
        unmount(target)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_a_blank_disk_gets_a_table_and_the_volume(
    image: Path, sector_size: int, tmp_path: Path
) -> None:
    with loop_device(image, sector_size) as disk:
        plan = plan_on(disk)
        assert (plan.number, plan.start, plan.size, plan.is_blank) == (1, MIB, 100 * MIB, True)
        made = make_volume(plan)
        assert made.path == Path(f"{disk}p1")
        assert (made.size, made.start, made.sector_size) == (100 * MIB, MIB, sector_size)
        assert made.partition_label == "IMAGECACHE"
        volume = probe(made)
        assert volume and (volume.filesystem, volume.label) == ("ext4", "IMAGECACHE")
        said = blkid(made.path)
        assert (said["TYPE"], said["LABEL"]) == ("ext4", "IMAGECACHE")
        assert said["PART_ENTRY_NAME"] == "IMAGECACHE"
        assert said["PART_ENTRY_TYPE"] == "0fc63daf-8483-4772-8e79-3d69d8477de4"
        # UUID version 8 of SHA-256(16 zero bytes + label): as Talos's images have it.
        assert said["PART_ENTRY_UUID"] == talos_guid("IMAGECACHE")
        assert e2fsck_finds_it_sound(made.path)
        assert sgdisk_finds_it_sound(disk)
        with mounted(made.path, tmp_path / "volume") as folder:
            (folder / "file").write_text("it works")
            assert mounted_at(folder) == made.path
        with mounted(made.path, tmp_path / "volume", writable=False) as folder:
            assert (folder / "file").read_text() == "it works"
        # A second run finds it as it is.
        again = make_volume(plan_on(disk))
        assert again == made
        with mounted(made.path, tmp_path / "volume", writable=False) as folder:
            assert (folder / "file").exists()
    assert read_gpt(image, sector_size).partitions[1].label == "IMAGECACHE"


def talos_guid(label: str) -> str:
    digest = bytearray(hashlib.sha256(bytes(16) + label.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_a_system_disk_keeps_all_that_it_has(image: Path, sector_size: int) -> None:
    with loop_device(image, sector_size) as disk:
        partition_with(disk, TALOS)
        before, table = contents(disk), sfdisk_table(disk)
        system = system_disk(disk)
        plan = plan_volume(settings("system_disk"), devices_of(disk), system)
        assert plan.number == 4
        made = make_volume(plan)
        assert e2fsck_finds_it_sound(made.path)
        assert sgdisk_finds_it_sound(disk)
        assert contents(disk) == before
        after = sfdisk_table(disk)
        assert after["partitions"][:3] == table["partitions"]
        assert (after["id"], after["firstlba"]) == (table["id"], table["firstlba"])
        assert len(after["partitions"]) == 4
    with loop_device(image, sector_size) as disk:
        assert [each.partition_label for each in devices_of(disk)] == [
            "", "EFI", "META", "STATE", "IMAGECACHE",
        ]  # fmt: skip


def system_disk(disk: Path) -> BlockDevice:
    system = find_system_disk(devices_of(disk), None)
    assert system == device(disk)
    return system


def test_the_largest_free_range_is_taken(image: Path) -> None:
    with loop_device(image) as disk:
        partition_with(
            disk,
            "label: gpt\nstart=30MiB, size=10MiB, name=one\nstart=150MiB, size=8MiB, name=two\n",
        )
        before = contents(disk)
        plan = plan_on(disk, settings(max_size=SizeLimit(1 << 30)))
        assert (plan.number, plan.start, plan.size) == (3, 40 * MIB, 110 * MIB)
        make_volume(plan)
        assert contents(disk) == before
        assert sgdisk_finds_it_sound(disk)


def test_a_disk_that_has_become_larger_is_used_to_its_end(image: Path) -> None:
    with loop_device(image) as disk:
        partition_with(disk, TALOS)
    os.truncate(image, 3 * SIZE)
    with loop_device(image) as disk:
        assert not sgdisk_finds_it_sound(disk)
        before = contents(disk)
        plan = plan_on(disk, settings(min_size=400 * MIB, max_size=SizeLimit(1 << 30)))
        make_volume(plan)
        assert plan.start + plan.size == 3 * SIZE - MIB
        assert contents(disk) == before
        assert sgdisk_finds_it_sound(disk)


def test_a_percentage_is_of_the_disk(image: Path) -> None:
    with loop_device(image) as disk:
        plan = plan_on(disk, settings(max_size=parse_size_limit("30%")))
        assert plan.size == 60 * MIB
        with pytest.raises(
            InputError, match=r"maxSize \(20 % of the disk\) is 40 MiB on this disk"
        ):
            plan_on(disk, settings(max_size=parse_size_limit("20%")))


def test_why_not_is_told(image: Path, tmp_path: Path) -> None:
    with loop_device(image) as disk:
        with pytest.raises(HostError) as caught:
            plan_on(disk, settings('disk.transport == "nvme"'))
        assert caught.value.message == (
            f'no disk matches `disk.transport == "nvme"`: disks: {disk} (210 MB, transport '
            "unknown); the system disk is unknown"
        )
        with pytest.raises(HostError) as caught:
            plan_on(disk, settings(min_size=500 * MIB, max_size=SizeLimit(500 * MIB)))
        assert caught.value.message == (
            f"{disk} has 198 MiB free, IMAGECACHE needs at least 500 MiB: "
            "it is too small by 302 MiB"
        )
        with pytest.raises(UnsupportedError, match="`encryption` is set"):
            plan_on(disk, settings(encrypted=True))
    with (
        loop_device(image, read_only=True) as disk,
        pytest.raises(HostError, match=f"{disk} is read-only"),
    ):
        plan_on(disk, settings("true"))


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (("mkfs.ext4", "-q", "-L", "mine"), "has the ext4 file system 'mine'"),
        (("mkfs.vfat", "-n", "MINE"), "has the vfat file system 'MINE'"),
        (("mkfs.xfs", "-q"), "is not blank"),
        (("mkswap",), "is not blank"),
        (("sfdisk", "-q", "--no-reread", "--label", "dos"), "is not blank"),
    ],
)
def test_a_disk_with_something_else_is_never_written(
    image: Path, argv: tuple[str, ...], what: str
) -> None:
    os.truncate(image, 400 * MIB)
    with loop_device(image) as disk:
        program = find_tool(argv[0], package="util-linux")
        subprocess.run(
            [program, *argv[1:], disk], input=b"size=10M\n", check=True, capture_output=True
        )
        with pytest.raises(HostError, match=what):
            plan_on(disk)


def test_a_hybrid_iso_is_never_written_though_it_has_a_table(image: Path) -> None:
    with loop_device(image) as disk:
        partition_with(disk, TALOS)
        descriptor = bytearray(2048)
        descriptor[:7] = b"\x01CD001\x01"
        descriptor[40:72] = b"TALOS_V1_9_0".ljust(32)
        descriptor[128:130] = (2048).to_bytes(2, "little")
        with disk.open("r+b") as file:
            file.seek(16 * 2048)
            file.write(descriptor)
            file.write(b"\xffCD001\x01".ljust(2048, b"\0"))
        with pytest.raises(HostError, match="iso9660 file system 'TALOS_V1_9_0'"):
            plan_on(disk)


def test_a_disk_that_is_blank_no_more_is_not_written(image: Path) -> None:
    with loop_device(image) as disk:
        plan = plan_on(disk)
        run_tool(["mkfs.ext4", "-q", disk], package="e2fsprogs")
        data = disk.read_bytes()
        with pytest.raises(HostError, match="is no longer blank, or is in use"):
            make_volume(plan)
        assert disk.read_bytes() == data


def test_a_partition_with_the_label_is_formatted_only_if_it_is_blank(image: Path) -> None:
    with loop_device(image) as disk:
        partition_with(disk, "label: gpt\nsize=60MiB, name=IMAGECACHE\n")
        part = device(Path(f"{disk}p1"))
        data = part.path.read_bytes()
        with pytest.raises(HostError, match="labelled IMAGECACHE but has unknown data"):
            make_volume(plan_on(disk))
        assert part.path.read_bytes() == data
        run_tool(["mkfs.vfat", part.path], package="dosfstools")
        with pytest.raises(HostError, match="has a vfat file system"):
            make_volume(plan_on(disk))
        part.path.write_bytes(bytes(part.size))
        assert make_volume(plan_on(disk)) == part
        assert e2fsck_finds_it_sound(part.path)
        assert blkid(part.path)["LABEL"] == "IMAGECACHE"


def test_a_mounted_volume_is_left_alone(image: Path, tmp_path: Path) -> None:
    with loop_device(image) as disk:
        made = make_volume(plan_on(disk))
        assert not is_in_use(made)
        with mounted(made.path, tmp_path / "volume") as folder:
            (folder / "file").write_text("kept")
            assert is_in_use(made) and is_in_use(device(disk))
            make_volume(plan_on(disk))
            assert (folder / "file").read_text() == "kept"


def test_what_the_kernel_still_knows_is_in_nobodys_way(image: Path) -> None:
    """As after a run that was killed before the table had the entry."""
    with loop_device(image) as disk:
        partition_with(disk, TALOS)
        plan = plan_on(disk)
        add_partition(plan.disk, plan.number, start=plan.start, size=10 * MIB)
        made = make_volume(plan_on(disk))
        assert made.size == plan.size
        assert e2fsck_finds_it_sound(made.path)


def test_a_failed_mkfs_leaves_nothing(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loop_device(image) as disk:
        partition_with(disk, TALOS)
        before, table = contents(disk), sfdisk_table(disk)
        monkeypatch.setattr(provision, "_FEATURES", "no_such_feature")
        with pytest.raises(ImagerError, match=r"mkfs\.ext4 failed"):
            make_volume(plan_on(disk))
        assert sfdisk_table(disk) == table
        assert contents(disk) == before
        assert len(devices_of(disk)) == 4


def test_a_device_that_does_not_appear_is_told(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loop_device(image) as disk:
        partition_with(disk, TALOS)
        table = sfdisk_table(disk)
        monkeypatch.setattr(provision, "_WAIT", 0.1)
        monkeypatch.setattr(provision, "kernel_path", lambda *_: Path("/dev/nosuchdisk"))
        with pytest.raises(HostError, match="/dev/nosuchdisk did not appear"):
            make_volume(plan_on(disk))
        assert sfdisk_table(disk) == table
        assert [each.number for each in devices_of(disk)] == [None, 1, 2, 3]


class CutError(Exception):
    """The power is gone."""


@contextmanager
def power_cut(monkeypatch: pytest.MonkeyPatch, *, after: int, torn: int) -> Iterator[list[int]]:
    """Let `after` writes through, and `torn` bytes of the next; then nothing more is written."""
    sizes: list[int] = []
    write = os.pwrite

    def cut(descriptor: int, data: bytes, offset: int) -> int:
        if len(sizes) == after:
            write(descriptor, data[:torn], offset)
            os.fsync(descriptor)
            raise CutError
        sizes.append(len(data))
        return write(descriptor, data, offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", cut)
        yield sizes


def names_in_either_copy(disk: Path) -> list[str] | None:
    """Return the names of the partitions that sfdisk finds by either copy, None without a GPT."""
    argv: list[str | Path] = [find_tool("sfdisk", package="fdisk"), "-J", disk]
    done = subprocess.run(argv, check=False, capture_output=True, timeout=60)
    if done.returncode or not done.stdout.strip():
        return None
    table = json.loads(done.stdout)["partitiontable"]
    if table["label"] != "gpt":
        return None
    return [each["name"] for each in table.get("partitions", [])]


@pytest.mark.parametrize("torn", [0, 512, 8 * 512])
@pytest.mark.parametrize("after", [0, 1])
def test_a_cut_at_any_write_leaves_a_sound_table(
    image: Path, monkeypatch: pytest.MonkeyPatch, after: int, torn: int
) -> None:
    with loop_device(image) as disk:
        partition_with(disk, TALOS)
        before, entries = contents(disk), entries_of(disk)
        with power_cut(monkeypatch, after=after, torn=torn), pytest.raises(CutError):
            make_volume(plan_on(disk))
    # As the kernel that finds no sound primary table: it knows no partition then.
    is_primary_torn = (after, torn) == (1, 512)
    is_written = after == 1 and torn > 1024  # entries behind the fourth are zeros
    with loop_device(image, is_scanned=not is_primary_torn) as disk:
        assert sgdisk_finds_it_sound(disk) is (is_written or after + torn == 0)
        names = ["EFI", "META", "STATE"]
        has_entry = is_written or is_primary_torn
        assert names_in_either_copy(disk) == names + ["IMAGECACHE"] * has_entry
        wanted = settings("system_disk")
        made = make_volume(plan_volume(wanted, devices_of(disk), system_disk(disk)))
        assert made.partition_label == "IMAGECACHE"
        assert e2fsck_finds_it_sound(made.path)
        assert sgdisk_finds_it_sound(disk)
        assert contents(disk) == before
        assert entries_of(disk)[:3] == entries
        assert names_in_either_copy(disk) == [*names, "IMAGECACHE"]


def test_these_are_all_writes_to_a_table(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loop_device(image) as disk:
        with power_cut(monkeypatch, after=99, torn=0) as writes:
            make_volume(plan_on(disk))
        # An empty table first: MBR, backup header, header; then the entry in both copies.
        assert writes == [512, 512, 512, 33 * 512, 33 * 512]


@pytest.mark.parametrize(
    ("after", "torn", "names"),
    [
        (0, 0, None),  # blank
        (1, 0, None),  # a protective MBR alone
        (2, 0, []),  # with the backup of an empty table
        (3, 0, []),
        (3, 512, []),  # the backup has the entry, and its old header
        (4, 0, []),
        (4, 512, ["IMAGECACHE"]),  # so has the primary table now: the backup is sound
        (4, 1536, ["IMAGECACHE"]),
    ],
)
def test_a_cut_on_a_blank_disk_is_taken_up(
    image: Path, monkeypatch: pytest.MonkeyPatch, after: int, torn: int, names: list[str] | None
) -> None:
    with (
        loop_device(image) as disk,
        power_cut(monkeypatch, after=after, torn=torn),
        pytest.raises(CutError),
    ):
        make_volume(plan_on(disk))
    with loop_device(image, is_scanned=(after, torn) != (4, 512)) as disk:
        assert names_in_either_copy(disk) == names
        made = make_volume(plan_on(disk))
        assert e2fsck_finds_it_sound(made.path)
        assert sgdisk_finds_it_sound(disk)
        assert names_in_either_copy(disk) == ["IMAGECACHE"]


@pytest.mark.parametrize("position", [512 + 16, 1024 + 5, SIZE - 512 + 16, SIZE - 33 * 512 + 5])
def test_a_damaged_copy_is_mended_from_the_other(image: Path, position: int) -> None:
    with loop_device(image) as disk:
        partition_with(disk, TALOS)
        before, table = contents(disk), sfdisk_table(disk)
        flip(disk, position)
        assert not sgdisk_finds_it_sound(disk)
        grow_disk(device(disk))
        assert sgdisk_finds_it_sound(disk)
        assert sfdisk_table(disk) == table
        assert contents(disk) == before


def test_a_table_of_which_no_copy_is_sound_is_not_touched(image: Path) -> None:
    with loop_device(image) as disk:
        partition_with(disk, TALOS)
        flip(disk, 512 + 16)
        flip(disk, SIZE - 512 + 16)
        data = disk.read_bytes()
        with pytest.raises(HostError, match="is not blank and is not overwritten"):
            plan_on(disk)
        with pytest.raises(InputError, match="no valid GPT"):
            grow_disk(device(disk))
        assert disk.read_bytes() == data


def blocks_of(path: Path) -> int:
    said = run_tool(["dumpe2fs", "-h", path], package="e2fsprogs").decode()
    (line,) = (line for line in said.splitlines() if line.startswith("Block count:"))
    return int(line.split()[-1])


def test_a_volume_grows_with_its_disk(image: Path, tmp_path: Path) -> None:
    wanted = settings(max_size=SizeLimit(1 << 40), grow=True)
    with loop_device(image) as disk:
        partition_with(disk, TALOS)
        make_volume(plan_on(disk, wanted))
    os.truncate(image, 10 * SIZE)
    with loop_device(image) as disk:
        before, volume = contents(disk), device(Path(f"{disk}p4"))
        with mounted(volume.path, tmp_path / "volume") as folder:
            (folder / "file").write_text("kept")
        grown = grow_volume(volume, wanted)
        with mounted(volume.path, tmp_path / "volume") as folder:
            assert os.statvfs(folder).f_blocks * 4096 > 9 * SIZE
            assert (folder / "file").read_text() == "kept"
        assert grown.size == 10 * SIZE - MIB - volume.start
        assert blocks_of(grown.path) == grown.size // 4096
        assert e2fsck_finds_it_sound(grown.path)
        assert sgdisk_finds_it_sound(disk)
        assert contents(disk) == before
        assert grow_volume(grown, wanted) == grown
        assert sfdisk_table(disk)["partitions"][3]["size"] * 512 == grown.size


def test_a_volume_grows_to_its_maximum_and_only_if_it_may(image: Path) -> None:
    with loop_device(image) as disk:
        made = make_volume(plan_on(disk, settings(max_size=SizeLimit(60 * MIB))))
        assert grow_volume(made, settings()) == made
        grown = grow_volume(made, settings(grow=True, max_size=SizeLimit(80 * MIB)))
        assert (grown.size, blocks_of(grown.path)) == (80 * MIB, 80 * MIB // 4096)
        # It is no smaller where the maximum is.
        assert grow_volume(grown, settings(grow=True, max_size=SizeLimit(60 * MIB))) == grown


@pytest.mark.parametrize("cut_short", ["resize_partition", "_check"])
def test_growing_is_taken_up(image: Path, monkeypatch: pytest.MonkeyPatch, cut_short: str) -> None:
    def cut(*_: object, **__: object) -> None:
        raise CutError

    wanted = settings(grow=True)
    with loop_device(image) as disk:
        made = make_volume(plan_on(disk, settings(max_size=SizeLimit(60 * MIB))))
        with monkeypatch.context() as patched:
            patched.setattr(growing, cut_short, cut)
            with pytest.raises(CutError):
                grow_volume(made, wanted)
        grown = grow_volume(device(made.path), wanted)
        assert (grown.size, blocks_of(grown.path)) == (100 * MIB, 100 * MIB // 4096)
        assert e2fsck_finds_it_sound(grown.path)


def test_devices_and_what_is_on_them(image: Path, tmp_path: Path) -> None:
    with loop_device(image, 4096) as disk:
        partition_with(disk, TALOS)
        run_tool(["mkfs.vfat", "-n", "TALOS_V1", f"{disk}p1"], package="dosfstools")
        run_tool(["mkfs.ext4", "-q", "-L", "state", f"{disk}p3"], package="e2fsprogs")
        found = devices_of(disk)
        assert [(each.path.name.removeprefix(disk.name), each.size) for each in found] == [
            ("", SIZE), ("p1", 10 * MIB), ("p2", MIB), ("p3", 20 * MIB),
        ]  # fmt: skip
        assert [each.partition_label for each in found] == ["", "EFI", "META", "STATE"]
        assert [each.start for each in found] == [0, MIB, 11 * MIB, 12 * MIB]
        volumes = [probe(each) for each in found]
        assert [(each.filesystem, each.label) if each else None for each in volumes] == [
            None, ("vfat", "TALOS_V1"), None, ("ext4", "state"),
        ]  # fmt: skip
        assert not any(map(is_blank, found))
    (tmp_path / "blank").write_bytes(bytes(3 * MIB))
    with loop_volume(tmp_path / "blank") as disk:
        assert is_blank(device(disk))
        flip(disk, MIB + 1)
        assert is_blank(device(disk))
        flip(disk, 2 * MIB + 1)
        assert not is_blank(device(disk))


def test_an_iso_is_told_by_its_volume_id(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "file").write_text("file")
    iso = tmp_path / "iso"
    run_tool(
        ["xorrisofs", "-quiet", "-V", "TALOS_V1_9_0", "-o", iso, tmp_path / "files"],
        package="xorriso",
    )
    with loop_volume(iso) as disk:
        volume = probe(device(disk))
    assert volume and (volume.filesystem, volume.label) == ("iso9660", "TALOS_V1_9_0")


def test_foreign_entries_stay_byte_for_byte(image: Path) -> None:
    with loop_device(image) as disk:
        partition_with(
            disk,
            TALOS + 'size=8MiB, name="\u00e4\u00f6\u00fc", attrs="RequiredPartition,GUID:48"\n',
        )
        raw = disk.read_bytes()[1024 : 1024 + 128 * 4]
        make_volume(plan_on(disk))
        assert disk.read_bytes()[1024 : 1024 + 128 * 4] == raw
        assert not read_table(disk).problem
