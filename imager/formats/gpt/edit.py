"""A partition table in use: its entries by number, its free room, an entry added or extended.

UEFI Specification 2.10, 5.3.2 and 5.3.3. What is not changed stays as it is, byte for byte. The
backup is written first, then the primary table, so that at every moment one of them is sound.
"""

from __future__ import annotations

import binascii
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from imager.content.reading import read_content
from imager.formats.gpt.read import (
    ENTRY,
    HEADER,
    NO_TYPE,
    TableCopy,
    check_protective_mbr,
    read_copy,
)
from imager.formats.gpt.table import Partition, check_apart, plan_gpt
from imager.support.errors import InputError, OutputError
from imager.support.units import MIB, align_up

_LAST_SECTOR = 40  # in an entry
_FIRST_USABLE = 40  # in a header
_ARRAY = 2  # where the array of the primary table usually is
_MBR_SIZE = 458  # of its first entry, the number of sectors
_MBR_LARGEST = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a disk from `start` up to `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many they are."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class TableInUse:
    """The table of a disk of `disk_size` bytes, of which `usable` is for partitions.

    `is_whole` tells whether both copies are sound, agree, and are for a disk of this size. `gained`
    are the bytes by which the disk is larger than the table on it says: an image was written to it.
    Read one with `read_table`. The number, size and place of entries stay as they are.
    """

    sector_size: int
    disk_size: int
    usable: Range
    is_whole: bool
    gained: int
    _copy: TableCopy

    @property
    def partitions(self) -> Mapping[int, Partition]:
        """The partitions by their numbers, from 1."""
        return self._copy.partitions(self.sector_size)

    def free_ranges(self) -> tuple[Range, ...]:
        """Return the ranges that no partition has, with starts and ends on whole MiB."""
        ranges = []
        start = self.usable.start
        taken = sorted((each.offset, each.end) for each in self.partitions.values())
        for begin, end in (*taken, (self.usable.end, self.usable.end)):
            free = Range(align_up(start, MIB), begin // MIB * MIB)
            if free.size > 0:
                ranges.append(free)
            start = max(start, end)
        return tuple(ranges)

    def free_behind(self, number: int) -> Range:
        """Return the free range right behind a partition, up to a whole MiB; it may be empty."""
        start = self.partitions[number].end
        begins = [each.offset for each in self.partitions.values() if each.offset >= start]
        return Range(start, max(start, min([self.usable.end, *begins]) // MIB * MIB))

    def free_number(self) -> int:
        """Return the lowest number that no partition has; raises ValueError when all are taken."""
        for number, raw in enumerate(self._copy.raw_entries(), start=1):
            if raw[:16] == NO_TYPE:
                return number
        raise ValueError("the table has no free entry")

    def with_new(self, number: int, partition: Partition) -> TableInUse:
        """Return the table with `partition` as the entry `number`.

        Raises ValueError when the entry, or a byte of the partition, is another one's.
        """
        if number in self.partitions:
            raise ValueError(f"there is a partition {number}")
        raw = ENTRY.pack(
            partition.type_guid.bytes_le,
            partition.guid.bytes_le,
            partition.offset // self.sector_size,
            partition.end // self.sector_size - 1,
            partition.attributes,
            partition.label.encode("utf-16-le"),
        )
        return self._with_entry(number, raw)

    def with_size(self, number: int, size: int) -> TableInUse:
        """Return the table with the partition `number` of `size` bytes; raises ValueError."""
        raw = bytearray(list(self._copy.raw_entries())[number - 1])
        last = (self.partitions[number].offset + size) // self.sector_size - 1
        struct.pack_into("<Q", raw, _LAST_SECTOR, last)
        return self._with_entry(number, bytes(raw))

    def write(self, path: Path) -> None:
        """Write both copies to the disk `path`, the backup at its end first; raises OutputError.

        What was cut off is done again: the primary header, which tells of the rest, comes last.
        """
        try:
            with path.open("r+b", buffering=0) as file:
                if self.gained:
                    _write(file, _MBR_SIZE, struct.pack("<I", min(self._last, _MBR_LARGEST)))
                _write(file, self._backup_array * self.sector_size, self._backup)
                for place, data in self._primary:
                    _write(file, place * self.sector_size, data)
        except OSError as error:
            raise _unwritten(path, error) from error

    def _with_entry(self, number: int, raw: bytes) -> TableInUse:
        entries = list(self._copy.raw_entries())
        entries[number - 1] = raw.ljust(self._copy.entry_size, b"\0")
        changed = replace(self, _copy=replace(self._copy, entries=b"".join(entries)))
        check_apart(
            changed.partitions.values(), *_room(self._copy, self.disk_size, self.sector_size)
        )
        return changed

    @property
    def _last(self) -> int:
        return self.disk_size // self.sector_size - 1

    @property
    def _backup_array(self) -> int:
        return self._last - len(self._array) // self.sector_size

    @property
    def _primary(self) -> tuple[tuple[int, bytes], ...]:
        """What to write, with the sectors: the header last, or all at once where the array follows.

        The kernel does not look at the backup, so the time without a sound header is to be short.
        """
        header = self._packed(1, self._last, self._copy.array).ljust(self.sector_size, b"\0")
        if self._copy.array == _ARRAY:
            return ((1, header + self._array),)
        return (self._copy.array, self._array), (1, header)

    @property
    def _backup(self) -> bytes:
        header = self._packed(self._last, 1, self._backup_array)
        return self._array + header.ljust(self.sector_size, b"\0")

    @property
    def _array(self) -> bytes:
        entries = self._copy.entries
        return entries.ljust(align_up(len(entries), self.sector_size), b"\0")

    def _packed(self, own: int, other: int, array: int) -> bytes:
        """Return the header for sector `own`; what a longer one has behind the fields stays."""
        header = self._copy.header
        fields = list(HEADER.unpack(header[: HEADER.size]))
        fields[3], fields[5], fields[6], fields[10] = 0, own, other, array
        fields[8] = self.usable.end // self.sector_size - 1
        fields[13] = binascii.crc32(self._copy.entries)
        rest = header[HEADER.size :]
        fields[3] = binascii.crc32(HEADER.pack(*fields) + rest)
        return HEADER.pack(*fields) + rest


def read_table(path: Path, sector_size: int = 512) -> TableInUse:
    """Return the table of the disk or image `path`: the primary one, else the backup.

    Raises InputError when neither is sound, or the disk has become smaller.
    """
    try:
        with path.open("rb") as file:
            return _read(file, sector_size)
    except ValueError as error:
        raise InputError(
            f"{path}: no sound GPT with {sector_size}-byte sectors: {error}",
            hint="repair it with `sgdisk`, or wipe the disk if nothing on it is needed",
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_numbered(path: Path, sector_size: int = 512) -> Mapping[int, Partition]:
    """Return the partitions of the primary table by number; none when it cannot be read."""
    try:
        with path.open("rb") as file:
            return read_copy(file, sector_size, 1).partitions(sector_size)
    except (ValueError, OSError):
        return {}


def write_empty_table(path: Path, *, guid: UUID, sector_size: int = 512) -> None:
    """Write a table without partitions to the blank disk `path`; raises OutputError.

    Its entries are the zeros that are there. A cut leaves a protective MBR alone (see
    `protective_mbr`), or with it one sound copy.
    """
    try:
        with path.open("r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END) // sector_size * sector_size
            plan = plan_gpt([], disk_size=size, disk_guid=guid, sector_size=sector_size)
            primary = read_content(plan.primary)
            backup = read_content(plan.backup)
            _write(file, 0, primary[:sector_size])
            _write(file, size - sector_size, backup[-sector_size:])
            _write(file, sector_size, primary[sector_size : 2 * sector_size])
    except ValueError as error:
        raise OutputError(f"{path}: no partition table can be made: {error}") from error
    except OSError as error:
        raise _unwritten(path, error) from error


def protective_mbr(disk_size: int, sector_size: int = 512) -> bytes:
    """Return the first sector of a disk with an empty table; raises ValueError if it has no room.

    https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html#protective-mbr
    """
    size = disk_size // sector_size * sector_size
    plan = plan_gpt([], disk_size=size, disk_guid=UUID(int=0), sector_size=sector_size)
    return read_content(plan.primary)[:sector_size]


def _read(file: BinaryIO, sector_size: int) -> TableInUse:
    disk_size = file.seek(0, os.SEEK_END) // sector_size * sector_size
    check_protective_mbr(file)
    last = disk_size // sector_size - 1
    backup = _sound_backup(file, sector_size, last)
    try:
        copy = read_copy(file, sector_size, 1)
        gained = (last - copy.alternate) * sector_size
        if gained < 0:
            raise ValueError(f"the table is for {disk_size - gained} bytes, not {disk_size}")
    except ValueError:
        if backup is None:
            raise
        # It does not say where the primary array was.
        copy, gained = replace(backup, array=_ARRAY), 0
    first, usable_last = struct.unpack_from("<QQ", copy.header, _FIRST_USABLE)
    start, end = _room(copy, disk_size, sector_size)
    usable_end = end if gained else min((usable_last + 1) * sector_size, end)
    table = TableInUse(
        sector_size,
        disk_size,
        Range(max(first * sector_size, start), usable_end),
        backup == copy and copy.alternate == last,
        gained,
        copy,
    )
    check_apart(table.partitions.values(), start, end)
    return table


def _sound_backup(file: BinaryIO, sector_size: int, last: int) -> TableCopy | None:
    try:
        return read_copy(file, sector_size, last, alternate=1)
    except ValueError:
        return None


def _room(copy: TableCopy, disk_size: int, sector_size: int) -> tuple[int, int]:
    """Return the widest range of bytes, [start, end), that partitions may take."""
    array = align_up(len(copy.entries), sector_size)
    return copy.array_end(sector_size), disk_size - sector_size - array


def _write(file: BinaryIO, offset: int, data: bytes) -> None:
    os.pwrite(file.fileno(), data, offset)
    os.fsync(file.fileno())


def _unwritten(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: the partition table cannot be written: {error.strerror}")
