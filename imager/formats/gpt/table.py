"""A GUID partition table as one value: planned for a new disk, or read from one and changed.

UEFI Specification 2.10, chapter 5
(https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html).
gpt-image's objects marshal the structures. Its placement (34 sectors whatever their size) and its
`Disk` (the whole image in memory) are not used: partitions have exact offsets, so one table serves
a disk and the ESP inside a hybrid ISO.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from gpt_image.geometry import Geometry
from gpt_image.table import Header, ProtectiveMBR

from imager.content.extents import Content
from imager.formats.gpt.entries import (
    ENTRY_SIZE,
    NO_TYPE,
    Partition,
    check_apart,
    check_new,
    marshal_entry,
    numbered_partitions,
    split_entries,
    with_last_sector,
)
from imager.support.units import MIB, SECTOR_SIZES, align_up

HEADER_SIZE = 92
# The sector of the primary array, unless a tool has moved it.
ARRAY = 2
_ENTRIES = 128
_ARRAY_SIZE = _ENTRIES * ENTRY_SIZE
BOOT_CODE_SIZE = 440
_MBR_LARGEST = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a disk from `start` up to `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Table:
    """The table of a disk of `disk_size` bytes, of which `usable` is for partitions.

    `entries` are the bytes of the array, `entry_size` each; the primary array is at sector
    `array`. `revision`, `reserved` and `extension` (what a longer header has behind its fields)
    are kept as they were read; `boot_code` is for the MBR of a new disk. `problem` says why the
    two copies on the disk are not both sound, alike and for a disk of this size, and is empty if
    they are. `gained` is the number of bytes by which the disk is larger than the table says, as
    after writing an image to it.
    """

    disk_guid: UUID
    disk_size: int
    sector_size: int
    usable: Range
    entries: bytes
    entry_size: int = ENTRY_SIZE
    array: int = ARRAY
    revision: bytes = b"\0\0\1\0"
    reserved: int = 0
    extension: bytes = b""
    boot_code: bytes = b""
    problem: str = ""
    gained: int = 0

    @property
    def partitions(self) -> Mapping[int, Partition]:
        """The partitions by their numbers, from 1."""
        return dict(numbered_partitions(self._raw_entries(), self.sector_size))

    def free_ranges(self) -> tuple[Range, ...]:
        """Return the ranges that no partition has, with starts and ends on whole MiB."""
        ranges = []
        start = self.usable.start
        taken = sorted((part.offset, part.end) for part in self.partitions.values())
        for begin, end in (*taken, (self.usable.end, self.usable.end)):
            free = Range(align_up(start, MIB), begin // MIB * MIB)
            if free.size > 0:
                ranges.append(free)
            start = max(start, end)
        return tuple(ranges)

    def free_behind(self, number: int) -> Range:
        """Return the free range right behind a partition, up to a whole MiB; it may be empty."""
        start = self.partitions[number].end
        begins = [part.offset for part in self.partitions.values() if part.offset >= start]
        return Range(start, max(start, min([self.usable.end, *begins]) // MIB * MIB))

    def free_number(self) -> int:
        """Return the lowest number that no partition has; raises ValueError when all are taken."""
        for number, raw in enumerate(self._raw_entries(), start=1):
            if raw.startswith(NO_TYPE):
                return number
        raise ValueError("the table has no free entry")

    def with_new(self, number: int, partition: Partition) -> Table:
        """Return the table with `partition` as the entry `number`.

        Raises ValueError when the entry, or a byte of the partition, is taken.
        """
        if number in self.partitions:
            raise ValueError(f"there is a partition {number}")
        return self._with_entry(number, marshal_entry(partition, self.sector_size))

    def with_size(self, number: int, size: int) -> Table:
        """Return the table with the partition `number` of `size` bytes; raises ValueError."""
        last = (self.partitions[number].offset + size) // self.sector_size - 1
        return self._with_entry(number, with_last_sector(self._raw_entries()[number - 1], last))

    @property
    def is_whole(self) -> bool:
        """Whether both copies are sound, agree, and are for a disk of this size."""
        return not self.problem

    def check(self) -> None:
        """Raise ValueError unless the partitions lie apart, between both copies of the table."""
        start = self.array * self.sector_size + len(self.padded_entries)
        check_apart(self.partitions.values(), start, self.backup_offset)

    @property
    def padded_entries(self) -> bytes:
        """The array of entries, in whole sectors."""
        return self.entries.ljust(align_up(len(self.entries), self.sector_size), b"\0")

    @property
    def backup_offset(self) -> int:
        """The byte where the backup array is written; its header follows."""
        return self.disk_size - self.sector_size - len(self.padded_entries)

    @property
    def primary(self) -> Content:
        """What a new disk begins with: MBR, header and entries."""
        return Content.of_bytes(self.mbr + self.header + self.padded_entries)

    @property
    def backup(self) -> Content:
        """What a disk ends with, from `backup_offset` on: entries and header."""
        return Content.of_bytes(self.padded_entries + self.backup_header)

    @property
    def mbr(self) -> bytes:
        """The first sector: boot code and the protective MBR."""
        record = ProtectiveMBR(self._geometry)
        # UEFI 2.10, table 5.4: CHS of sector 1, and all ones for an end that CHS cannot express.
        record.start_chs, record.end_chs = b"\x00\x02\x00", b"\xff\xff\xff"
        record.partition_size = min(self._last, _MBR_LARGEST)
        code = self.boot_code.ljust(BOOT_CODE_SIZE, b"\0")
        sector: bytes = code + record.marshal()[BOOT_CODE_SIZE:]
        return sector.ljust(self.sector_size, b"\0")

    @property
    def header(self) -> bytes:
        """The sector of the primary header."""
        return self._header(1, self._last, self.array)

    @property
    def backup_header(self) -> bytes:
        """The sector of the backup header, the disk's last one."""
        return self._header(self._last, 1, self.backup_offset // self.sector_size)

    @property
    def _last(self) -> int:
        return self.disk_size // self.sector_size - 1

    @property
    def _geometry(self) -> Geometry:
        return Geometry(self.disk_size, self.sector_size)

    def _header(self, own: int, other: int, array: int) -> bytes:
        header = Header(self._geometry, guid=str(self.disk_guid))
        header.revision, header.reserved = self.revision, self.reserved
        header.header_size = HEADER_SIZE + len(self.extension)
        header.my_lba, header.alternate_lba, header.partition_entry_lba = own, other, array
        header.first_usable_lba = self.usable.start // self.sector_size
        header.last_usable_lba = self.usable.end // self.sector_size - 1
        header.number_of_partition_entries = len(self.entries) // self.entry_size
        header.size_of_partition_entries = self.entry_size
        header.partition_entry_array_crc32 = binascii.crc32(self.entries)
        header.header_crc32 = binascii.crc32(header.marshal()[:HEADER_SIZE] + self.extension)
        data: bytes = header.marshal()[:HEADER_SIZE] + self.extension
        return data.ljust(self.sector_size, b"\0")

    def _raw_entries(self) -> list[bytes]:
        return split_entries(self.entries, self.entry_size)

    def _with_entry(self, number: int, raw: bytes) -> Table:
        entries = self._raw_entries()
        entries[number - 1] = raw.ljust(self.entry_size, b"\0")
        changed = replace(self, entries=b"".join(entries))
        changed.check()
        return changed


def first_usable(sector_size: int = 512) -> int:
    """Return the first byte a partition may use: after MBR, header and entries."""
    return ARRAY * sector_size + align_up(_ARRAY_SIZE, sector_size)


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
) -> Table:
    """Return the table of a disk of `disk_size` bytes with `partitions` exactly where they say.

    `boot_code` (at most 440 bytes) goes into the MBR for a BIOS to run. Raises ValueError when a
    partition is not sector aligned, overlaps another or lies outside the usable area.
    """
    if sector_size not in SECTOR_SIZES:
        raise ValueError(f"sectors of {sector_size} bytes, not {SECTOR_SIZES}")
    if disk_size % sector_size or disk_size < first_usable(sector_size) + backup_size(sector_size):
        raise ValueError(f"{disk_size} bytes is not a disk of {sector_size}-byte sectors")
    if len(boot_code) > BOOT_CODE_SIZE:
        raise ValueError(f"{len(boot_code)} bytes of boot code, more than {BOOT_CODE_SIZE}")
    if len(partitions) > _ENTRIES:
        raise ValueError(f"{len(partitions)} partitions, more than {_ENTRIES}")
    check_new(partitions, sector_size)
    usable = Range(first_usable(sector_size), disk_size - backup_size(sector_size))
    check_apart(partitions, usable.start, usable.end)
    entries = b"".join(marshal_entry(part, sector_size) for part in partitions)
    array = entries.ljust(_ARRAY_SIZE, b"\0")
    return Table(disk_guid, disk_size, sector_size, usable, array, boot_code=boot_code)
