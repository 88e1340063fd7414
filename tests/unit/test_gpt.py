from __future__ import annotations

import binascii
import struct
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from imager.content.extents import Content
from imager.formats.gpt.edit import write_table
from imager.formats.gpt.entries import BIOS_BOOT, ESP, LEGACY_BOOT, LINUX_DATA, Partition
from imager.formats.gpt.read import read_gpt, read_numbered, read_table
from imager.formats.gpt.table import Table, backup_size, first_usable, plan_gpt
from imager.support.errors import InputError
from tests.lib.tools.support import content_bytes, write_content

MIB = 1 << 20
DISK = UUID("aaaaaaaa-bbbb-8ccc-9ddd-eeeeeeeeeeee")
EFI = Partition("EFI", ESP, UUID(int=1), MIB, 4 * MIB)
BIOS = Partition("BIOS", BIOS_BOOT, UUID(int=2), 5 * MIB, MIB, LEGACY_BOOT)
DATA = Partition("IMAGECACHE", LINUX_DATA, UUID(int=3), 6 * MIB, 9 * MIB)
PARTS = (EFI, BIOS, DATA)
SIZE = 16 * MIB


def write_plan(plan: Table, path: Path) -> Path:
    return write_copies(plan.primary, plan.backup, path)


def write_copies(primary: Content, backup: Content, path: Path) -> Path:
    placed = [(0, primary), (SIZE - backup.size, backup)]
    return write_content(Content.compose(SIZE, placed), path)


@pytest.mark.parametrize(("sector", "start", "tail"), [(512, 34, 33), (4096, 6, 5)])
def test_layout_by_sector_size(sector: int, start: int, tail: int) -> None:
    plan = plan_gpt(PARTS, disk_size=SIZE, disk_guid=DISK, sector_size=sector)
    assert first_usable(sector) == plan.primary.size == start * sector
    assert backup_size(sector) == plan.backup.size == tail * sector
    assert plan.backup_offset == SIZE - tail * sector


@pytest.mark.parametrize("sector", [512, 4096])
def test_structures_are_those_of_the_specification(sector: int) -> None:
    plan = plan_gpt(PARTS, disk_size=SIZE, disk_guid=DISK, sector_size=sector)
    primary, backup = content_bytes(plan.primary), content_bytes(plan.backup)
    last = SIZE // sector - 1
    array_sectors = 16384 // sector
    assert primary[:446] == bytes(446)
    assert primary[446:462] == b"\0\0\2\0\xee\xff\xff\xff" + struct.pack("<II", 1, last)
    assert primary[462:sector] == bytes(48) + b"\x55\xaa" + bytes(sector - 512)
    entries = primary[2 * sector :]
    assert entries == backup[:-sector]
    usable = (2 + array_sectors, last - 1 - array_sectors)
    for raw, lbas, array in (
        (primary[sector : 2 * sector], (1, last), 2),
        (backup[-sector:], (last, 1), last - array_sectors),
    ):
        header = struct.pack("<8sIIIIQQQQ", b"EFI PART", 0x10000, 92, 0, 0, *lbas, *usable)
        header += DISK.bytes_le
        header += struct.pack("<QIII", array, 128, 128, binascii.crc32(entries))
        crc = struct.pack("<I", binascii.crc32(header))
        assert raw == (header[:16] + crc + header[20:]).ljust(sector, b"\0")
    second = struct.pack("<QQQ", 5 * MIB // sector, 6 * MIB // sector - 1, 4)
    name = "BIOS".encode("utf-16-le").ljust(72, b"\0")
    assert entries[128:256] == BIOS_BOOT.bytes_le + UUID(int=2).bytes_le + second + name
    assert entries[3 * 128 :] == bytes(125 * 128)


@pytest.mark.parametrize("sector", [512, 4096])
def test_what_is_planned_reads_back(tmp_path: Path, sector: int) -> None:
    plan = plan_gpt(PARTS, disk_size=SIZE, disk_guid=DISK, sector_size=sector)
    table = read_gpt(write_plan(plan, tmp_path / "disk"), sector)
    assert (table.disk_guid, table.disk_size, tuple(table.partitions.values())) == (
        DISK,
        SIZE,
        PARTS,
    )


def test_the_protective_mbr_stops_at_its_largest_size() -> None:
    plan = plan_gpt([EFI], disk_size=3 << 40, disk_guid=DISK)
    assert content_bytes(plan.primary)[458:462] == b"\xff\xff\xff\xff"


def test_an_esp_in_a_hybrid_iso_is_only_sector_aligned(tmp_path: Path) -> None:
    esp = replace(EFI, offset=37 * 2048, size=4 * MIB + 2048)
    plan = plan_gpt([esp], disk_size=SIZE, disk_guid=DISK)
    assert tuple(read_gpt(write_plan(plan, tmp_path / "disk")).partitions.values()) == (esp,)


def test_boot_code_fills_the_start_of_the_mbr() -> None:
    code = bytes(range(1, 221)) * 2
    plan = plan_gpt([EFI], disk_size=SIZE, disk_guid=DISK, boot_code=code)
    plain = plan_gpt([EFI], disk_size=SIZE, disk_guid=DISK)
    assert content_bytes(plan.primary) == code + content_bytes(plain.primary)[440:]
    with pytest.raises(ValueError, match="441 bytes of boot code"):
        plan_gpt([EFI], disk_size=SIZE, disk_guid=DISK, boot_code=bytes(441))


def test_the_same_plan_twice_is_the_same() -> None:
    assert plan_gpt(PARTS, disk_size=SIZE, disk_guid=DISK) == plan_gpt(
        PARTS, disk_size=SIZE, disk_guid=DISK
    )


def test_partitions_may_fill_the_usable_area() -> None:
    whole = replace(EFI, offset=34 * 512, size=SIZE - 67 * 512)
    plan_gpt([whole], disk_size=SIZE, disk_guid=DISK)
    for wrong in (replace(whole, offset=33 * 512), replace(whole, size=SIZE - 66 * 512)):
        with pytest.raises(ValueError, match="outside"):
            plan_gpt([wrong], disk_size=SIZE, disk_guid=DISK)


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        ([replace(EFI, offset=MIB + 100)], "not aligned to 512-byte sectors"),
        ([replace(EFI, size=MIB + 1)], "not aligned to 512-byte sectors"),
        ([replace(EFI, size=0)], "empty"),
        ([EFI, replace(BIOS, offset=4 * MIB)], "'EFI' and 'BIOS' overlap"),
        ([replace(EFI, label="x" * 37)], "longer than 72 bytes"),
        ([EFI, replace(BIOS, guid=EFI.guid)], "same GUID"),
        ([EFI] * 129, "129 partitions"),
    ],
)
def test_impossible_partitions_are_refused(partitions: list[Partition], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_gpt(partitions, disk_size=SIZE, disk_guid=DISK)


@pytest.mark.parametrize(("size", "sector"), [(SIZE + 1, 512), (66 * 512, 512), (SIZE, 1024)])
def test_impossible_disks_are_refused(size: int, sector: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        plan_gpt([], disk_size=size, disk_guid=DISK, sector_size=sector)


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (450, "no protective MBR"),
        (510, "no protective MBR"),
        (512, "sector 1 is not a header"),
        (512 + 60, "sector 1 has a wrong checksum"),
        (1024 + 40, "entries at sector 2 have a wrong checksum"),
        (SIZE - 512 + 60, "sector 32767 has a wrong checksum"),
        (SIZE - 33 * 512 + 40, "entries at sector 32735 have a wrong checksum"),
    ],
)
def test_damage_is_found(tmp_path: Path, position: int, message: str) -> None:
    path = write_plan(plan_gpt(PARTS, disk_size=SIZE, disk_guid=DISK), tmp_path / "disk")
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 0x10]))
    with pytest.raises(InputError, match=message) as caught:
        read_gpt(path)
    assert str(path) in caught.value.message


def test_a_disk_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_plan(plan_gpt(PARTS, disk_size=SIZE, disk_guid=DISK), tmp_path / "disk")
    for size in (SIZE + MIB, SIZE - MIB):
        with path.open("r+b") as file:
            file.truncate(size)
        with pytest.raises(
            InputError, match=f"the table describes a disk of {SIZE} bytes, not {size}"
        ):
            read_gpt(path)


def test_two_sound_copies_must_agree(tmp_path: Path) -> None:
    one = plan_gpt(PARTS, disk_size=SIZE, disk_guid=DISK)
    two = plan_gpt(PARTS[:2], disk_size=SIZE, disk_guid=DISK)
    path = write_copies(one.primary, two.backup, tmp_path / "disk")
    with pytest.raises(InputError, match="differs"):
        read_gpt(path)


def test_sound_checksums_over_overlapping_partitions_do_not_help(tmp_path: Path) -> None:
    plan = plan_gpt([EFI, BIOS], disk_size=SIZE, disk_guid=DISK)
    parts = []
    for raw, header, array in (
        (bytearray(content_bytes(plan.primary)), 512, 1024),
        (bytearray(content_bytes(plan.backup)), 32 * 512, 0),
    ):
        raw[array + 128 + 32 : array + 128 + 40] = struct.pack("<Q", 2049)
        raw[header + 88 : header + 92] = struct.pack(
            "<I", binascii.crc32(raw[array : array + 16384])
        )
        raw[header + 16 : header + 20] = bytes(4)
        raw[header + 16 : header + 20] = struct.pack(
            "<I", binascii.crc32(raw[header : header + 92])
        )
        parts.append(Content.of_bytes(bytes(raw)))
    path = write_copies(parts[0], parts[1], tmp_path / "disk")
    with pytest.raises(InputError, match="overlap"):
        read_gpt(path)


@pytest.mark.parametrize("data", [b"", b"x", bytes(SIZE)])
def test_what_is_no_disk_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "disk"
    path.write_bytes(data)
    with pytest.raises(InputError, match="no valid GPT"):
        read_gpt(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_gpt(tmp_path / "none")


def reshaped(path: Path, place: int, value: bytes) -> Path:
    """Write a disk whose headers have `value` at byte `place`, with right checksums."""
    plan = plan_gpt([EFI], disk_size=SIZE, disk_guid=DISK)
    copies = []
    for content, header in ((plan.primary, 512), (plan.backup, 32 * 512)):
        raw = bytearray(content_bytes(content))
        raw[header + place : header + place + len(value)] = value
        raw[header + 16 : header + 20] = bytes(4)
        checksum = binascii.crc32(raw[header : header + 92])
        raw[header + 16 : header + 20] = struct.pack("<I", checksum)
        copies.append(Content.of_bytes(bytes(raw)))
    return write_copies(copies[0], copies[1], path)


@pytest.mark.parametrize(
    ("count", "size", "message"),
    [
        (0, 128, "has 0 entries"),
        (0xFFFF_FFFF, 128, "has 4294967295 entries"),
        (32_769, 128, "has 32769 entries"),
        (128, 0, "has entries of 0 bytes"),
        (128, 64, "has entries of 64 bytes"),
        (128, 192, "has entries of 192 bytes"),
        (128, 8192, "has entries of 8192 bytes"),
        (0xFFFF_FFFF, 0xFFFF_FFFF, "has entries of 4294967295 bytes"),
        (127, 128, "entries at sector 2 have a wrong checksum"),
    ],
)
def test_shapes_are_bounded(count: int, size: int, message: str, tmp_path: Path) -> None:
    path = reshaped(tmp_path / "disk", 80, struct.pack("<II", count, size))
    for reader in (read_gpt, read_table):
        with pytest.raises(InputError, match=message):
            reader(path)
    assert read_numbered(path) == {}


@pytest.mark.parametrize("sector", [0, 1, 1 << 40, (1 << 64) - 1])
def test_arrays_lie_on_the_disk_and_behind_the_header(sector: int, tmp_path: Path) -> None:
    path = reshaped(tmp_path / "disk", 72, struct.pack("<Q", sector))
    with pytest.raises(InputError, match=r"ends before|wrong checksum|overlap a header"):
        read_gpt(path)
    assert read_numbered(path) == {}


def test_larger_entries_and_headers_are_read(tmp_path: Path) -> None:
    """UEFI 2.10, 5.3.2: entries have 128 * 2^n bytes, and headers may be longer than 92."""
    path = tmp_path / "disk"
    type_and_id = EFI.type_guid.bytes_le + EFI.guid.bytes_le
    entry = type_and_id + struct.pack("<QQQ", 2048, 10 * 1024 - 1, 0) + "EFI".encode("utf-16-le")
    entries = entry.ljust(256, b"\0") + bytes(15 * 256)
    last = SIZE // 512 - 1
    disk = bytearray(SIZE)
    disk[450], disk[510:512] = 0xEE, b"\x55\xaa"
    for place, other, array in ((1, last, 40), (last, 1, last - 20)):
        fields = (0x10000, 100, 0, 0, place, other, 2048, last - 40)
        header = struct.pack("<8s4I4Q", b"EFI PART", *fields) + DISK.bytes_le
        header += struct.pack("<Q3I8s", array, 16, 256, binascii.crc32(entries), b"extended")
        checksum = struct.pack("<I", binascii.crc32(header))
        disk[place * 512 : place * 512 + 100] = header[:16] + checksum + header[20:]
        disk[array * 512 : array * 512 + 4096] = entries
    path.write_bytes(disk)
    assert tuple(read_gpt(path).partitions.values()) == (EFI,)
    write_table(read_table(path).with_new(2, BIOS), path)
    assert tuple(read_gpt(path).partitions.values()) == (EFI, BIOS)
    assert path.read_bytes()[512 + 92 : 512 + 100] == b"extended"
    assert path.read_bytes()[1024 : 40 * 512] == bytes(38 * 512)


def test_tables_may_leave_more_room_at_the_start(tmp_path: Path) -> None:
    """fdisk calls no sector below 2048 usable."""
    plan = plan_gpt([EFI], disk_size=SIZE, disk_guid=DISK)
    copies = [(bytearray(content_bytes(plan.primary)), 512)]
    copies.append((bytearray(content_bytes(plan.backup)), 32 * 512))
    for raw, header in copies:
        raw[header + 40 : header + 48] = struct.pack("<Q", 2048)
        raw[header + 16 : header + 20] = bytes(4)
        checksum = binascii.crc32(raw[header : header + 92])
        raw[header + 16 : header + 20] = struct.pack("<I", checksum)
    parts = [Content.of_bytes(bytes(raw)) for raw, _ in copies]
    path = write_copies(parts[0], parts[1], tmp_path / "disk")
    assert tuple(read_gpt(path).partitions.values()) == (EFI,)
