"""A GUID partition table as a value: planned for a new disk, or read from a disk and modified.

UEFI Specification 2.10, chapter 5
(https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html).
gpt-image's objects serialize the structures. Its placement (34 sectors of any size) and its `Disk`
(the whole image in memory) are not used: partitions have exact offsets, so one table works for a
disk and for the ESP inside a hybrid ISO.
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
# The default sector of the primary array.
ARRAY = 2
_ENTRIES = 128
_ARRAY_SIZE = _ENTRIES * ENTRY_SIZE
BOOT_CODE_SIZE = 440
_MBR_LARGEST = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Range:
    """The bytes of a disk from `start` to `end`, exclusive."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Table:
    """The table of a disk of `disk_size` bytes; partitions are within `usable`.

    `entries` are the bytes of the array, `entry_size` for each entry; the primary array is at
    sector `array`. `revision`, `reserved` and `extension` (the data after the fields of a longer
    header) keep the values that were read; `boot_code` is for the MBR of a new disk. `problem` is
    the reason why the two copies on the disk are not both valid, equal and for a disk of this
    size, and empty if they are. `gained` is the number of bytes by which the disk is larger than
    the table says, as after writing an image to a larger disk.
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
        """The partitions by number, from 1."""
        return dict(numbered_partitions(self._raw_entries(), self.sector_size))

    def free_ranges(self) -> tuple[Range, ...]:
        """Return the ranges without partitions, aligned to whole MiB."""
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
        """Return the free range after a partition, up to a whole MiB; it may be empty."""
        start = self.partitions[number].end
        begins = [part.offset for part in self.partitions.values() if part.offset >= start]
        return Range(start, max(start, min([self.usable.end, *begins]) // MIB * MIB))

    def free_number(self) -> int:
        """Return the lowest unused partition number; raises ValueError if all are used."""
        for number, raw in enumerate(self._raw_entries(), start=1):
            if raw.startswith(NO_TYPE):
                return number
        raise ValueError("the table has no free entry")

    def with_new(self, number: int, partition: Partition) -> Table:
        """Return the table with `partition` as entry `number`.

        Raises ValueError if the entry is in use, or if the partition overlaps another one.
        """
        if number in self.partitions:
            raise ValueError(f"partition {number} already exists")
        return self._with_entry(number, marshal_entry(partition, self.sector_size))

    def with_size(self, number: int, size: int) -> Table:
        """Return the table with partition `number` resized to `size` bytes; raises ValueError."""
        last = (self.partitions[number].offset + size) // self.sector_size - 1
        return self._with_entry(number, with_last_sector(self._raw_entries()[number - 1], last))

    def check(self) -> None:
        """Raise ValueError if partitions overlap each other or one of the copies of the table."""
        start = self.array * self.sector_size + len(self.padded_entries)
        check_apart(self.partitions.values(), start, self.backup_offset)

    @property
    def padded_entries(self) -> bytes:
        """The array of entries, padded to whole sectors."""
        return self.entries.ljust(align_up(len(self.entries), self.sector_size), b"\0")

    @property
    def backup_offset(self) -> int:
        """The offset of the backup array; the backup header follows it."""
        return self.disk_size - self.sector_size - len(self.padded_entries)

    @property
    def primary(self) -> Content:
        """The start of a new disk: MBR, header and entries."""
        return Content.of_bytes(self.mbr + self.header + self.padded_entries)

    @property
    def backup(self) -> Content:
        """The end of a disk, from `backup_offset` on: entries and header."""
        return Content.of_bytes(self.padded_entries + self.backup_header)

    @property
    def mbr(self) -> bytes:
        """The first sector: boot code and the protective MBR."""
        record = ProtectiveMBR(self._geometry)
        # UEFI 2.10, table 5.4: the CHS of sector 1, and all ones for an end beyond CHS.
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
        """The sector of the backup header, the last one of the disk."""
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
    """Return the first byte available to partitions, after MBR, header and entries."""
    return ARRAY * sector_size + align_up(_ARRAY_SIZE, sector_size)


def backup_size(sector_size: int = 512) -> int:
    """Return the size in bytes of the backup entries and header at the end of the disk."""
    return sector_size + align_up(_ARRAY_SIZE, sector_size)


def plan_gpt(
    partitions: Sequence[Partition],
    *,
    disk_size: int,
    disk_guid: UUID,
    sector_size: int = 512,
    boot_code: bytes = b"",
) -> Table:
    """Return the table of a disk of `disk_size` bytes with `partitions` at their exact offsets.

    `boot_code` (at most 440 bytes) is BIOS boot code for the MBR. Raises ValueError if a partition
    is not aligned to sectors, overlaps another one or extends outside the usable area.
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
