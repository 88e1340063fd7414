"""GUID partition tables, planned as bytes at their places; `gpt_read` reads them.

UEFI Specification 2.10, chapter 5
(https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html).
gpt-image's table objects marshal the structures. Its placement (34 sectors whatever their size)
and its `Disk` (the whole image in memory) are not used: partitions come with their exact offsets,
so the same plan serves a disk and the ESP inside a hybrid ISO.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from gpt_image.geometry import Geometry
from gpt_image.partition import Partition as Entry
from gpt_image.table import Table

from imager.content.extents import Content
from imager.support.units import align_up

ESP = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")
BASIC_DATA = UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")
LINUX_DATA = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
# Attribute bit 2: legacy BIOS bootable.
LEGACY_BOOT = 1 << 2

_ENTRIES = 128
_ENTRY_SIZE = 128
_ARRAY_SIZE = _ENTRIES * _ENTRY_SIZE
_SECTOR_SIZES = (512, 4096)
_LABEL_BYTES = 72
_BOOT_CODE_SIZE = 440
_MBR_LARGEST = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: `size` bytes at `offset` bytes; `attributes` is the raw 64-bit mask."""

    label: str
    type_guid: UUID
    guid: UUID
    offset: int
    size: int
    attributes: int = 0

    @property
    def end(self) -> int:
        """The byte after the last one."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class GptPlan:
    """Protective MBR, header and entries from byte 0 on; entries and header at the disk's end."""

    primary: Content
    backup: Content
    backup_offset: int


def first_usable(sector_size: int = 512) -> int:
    """Return the first byte a partition may use: after MBR, header and entries."""
    return 2 * sector_size + align_up(_ARRAY_SIZE, sector_size)


def backup_size(sector_size: int = 512) -> int:
    """Return the bytes at the disk's end that the backup entries and header take."""
    return sector_size + align_up(_ARRAY_SIZE, sector_size)


def plan_gpt(
    partitions: Sequence[Partition],
    *,
    disk_size: int,
    disk_guid: UUID,
    sector_size: int = 512,
    boot_code: bytes = b"",
) -> GptPlan:
    """Return the table of a disk of `disk_size` bytes with `partitions` exactly where they say.

    `boot_code` (at most 440 bytes) goes into the MBR for a BIOS to run. Raises ValueError when a
    partition is not sector aligned, overlaps another or lies outside the usable area.
    """
    _check_disk(disk_size, sector_size, boot_code)
    _check_partitions(partitions, disk_size, sector_size)
    table = _table(partitions, disk_size=disk_size, disk_guid=disk_guid, sector_size=sector_size)
    array = table.partitions.marshal().ljust(align_up(_ARRAY_SIZE, sector_size), b"\0")
    mbr = boot_code.ljust(_BOOT_CODE_SIZE, b"\0") + table.protective_mbr.marshal()[_BOOT_CODE_SIZE:]
    return GptPlan(
        Content.of_bytes(mbr.ljust(sector_size, b"\0") + table.primary_header.marshal() + array),
        Content.of_bytes(array + table.secondary_header.marshal()),
        disk_size - backup_size(sector_size),
    )


def _check_disk(disk_size: int, sector_size: int, boot_code: bytes) -> None:
    if sector_size not in _SECTOR_SIZES:
        raise ValueError(f"sectors of {sector_size} bytes, not {_SECTOR_SIZES}")
    if disk_size % sector_size or disk_size < first_usable(sector_size) + backup_size(sector_size):
        raise ValueError(f"{disk_size} bytes is not a disk of {sector_size}-byte sectors")
    if len(boot_code) > _BOOT_CODE_SIZE:
        raise ValueError(f"{len(boot_code)} bytes of boot code, more than {_BOOT_CODE_SIZE}")


def _check_partitions(partitions: Sequence[Partition], disk_size: int, sector_size: int) -> None:
    if len(partitions) > _ENTRIES:
        raise ValueError(f"{len(partitions)} partitions, more than {_ENTRIES}")
    for part in partitions:
        if part.offset % sector_size or part.size % sector_size:
            raise ValueError(f"partition {part.label} is not on {sector_size}-byte sectors")
        if len(part.label.encode("utf-16-le")) > _LABEL_BYTES:
            raise ValueError(f"partition label {part.label!r} is longer than {_LABEL_BYTES} bytes")
    check_apart(partitions, first_usable(sector_size), disk_size - backup_size(sector_size))
    if len({part.guid for part in partitions}) < len(partitions):
        raise ValueError("two partitions have the same GUID")


def check_apart(partitions: Iterable[Partition], start: int, end: int) -> None:
    """Raise ValueError unless the partitions lie in the bytes [start, end), and apart."""
    ordered = sorted(partitions, key=lambda part: part.offset)
    for part in ordered:
        if part.size <= 0 or part.offset < start or part.end > end:
            raise ValueError(f"partition {part.label!a} is empty or outside of [{start}, {end})")
    for one, two in pairwise(ordered):
        if two.offset < one.end:
            raise ValueError(f"partitions {one.label!a} and {two.label!a} overlap")


def _table(
    partitions: Sequence[Partition], *, disk_size: int, disk_guid: UUID, sector_size: int
) -> Table:
    """Return gpt-image's table, with the fields that it gets wrong or draws at random set."""
    geometry = Geometry(disk_size, sector_size)
    geometry.first_usable_lba = first_usable(sector_size) // sector_size
    geometry.alternate_array_lba = (disk_size - backup_size(sector_size)) // sector_size
    geometry.last_usable_lba = geometry.alternate_array_lba - 1
    table = Table(geometry)
    # UEFI 2.10, table 5.4: CHS of sector 1, and all ones for an end that CHS cannot say.
    table.protective_mbr.start_chs = b"\x00\x02\x00"
    table.protective_mbr.end_chs = b"\xff\xff\xff"
    table.protective_mbr.partition_size = min(disk_size // sector_size - 1, _MBR_LARGEST)
    table.primary_header.disk_guid = table.secondary_header.disk_guid = str(disk_guid)
    table.partitions.entries.extend(_entry(part, sector_size) for part in partitions)
    table.update()
    return table


def _entry(part: Partition, sector_size: int) -> Entry:
    entry = Entry(
        part.label,
        part.size,
        str(part.type_guid),
        str(part.guid),
        partition_attributes=part.attributes,
    )
    entry.first_lba = part.offset // sector_size
    entry.last_lba = part.end // sector_size - 1
    return entry
