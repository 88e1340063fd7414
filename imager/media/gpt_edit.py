"""A partition table in use: its entries by number, its free room, an entry added or extended.

UEFI Specification 2.10, 5.3.2 and 5.3.3. What is not changed stays as it is, byte for byte. The
backup is written first, then the primary table, so that at every moment one of them is sound.
"""

from __future__ import annotations

import binascii
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from imager.errors import InputError, OutputError
from imager.media.gpt import (
    ENTRY,
    HEADER,
    Partition,
    backup_size,
    first_usable,
    plan_gpt,
    read_copy,
)
from imager.reading import iterate_bytes
from imager.units import MIB, align_up

_NO_TYPE = bytes(16)
_LAST_SECTOR = 40  # in an entry
_ALTERNATE, _FIRST_USABLE = 32, 40  # in a header: the sector of the other, usable sectors
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

    `is_whole` tells if both copies are there, agree, and are for a disk of this size. `gained` are
    the bytes by which the disk is larger than the table on it says: an image was written to it.
    Read one with `read_table`.
    """

    sector_size: int
    disk_size: int
    usable: Range
    is_whole: bool
    gained: int
    _header: bytes
    _entries: bytes

    @property
    def partitions(self) -> Mapping[int, Partition]:
        """The partitions by their numbers, from 1."""
        return dict(_numbered(self._entries, self.sector_size))

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
        for number, raw in enumerate(_raw_entries(self._entries), start=1):
            if raw[:16] == _NO_TYPE:
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
        raw = bytearray(list(_raw_entries(self._entries))[number - 1])
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
                _write(file, self.sector_size, self._primary)
        except OSError as error:
            raise _unwritten(path, error) from error

    def _with_entry(self, number: int, raw: bytes) -> TableInUse:
        start = (number - 1) * ENTRY.size
        entries = self._entries[:start] + raw + self._entries[start + ENTRY.size :]
        changed = replace(self, _entries=entries)
        _check(changed)
        return changed

    @property
    def _last(self) -> int:
        return self.disk_size // self.sector_size - 1

    @property
    def _backup_array(self) -> int:
        return (self.disk_size - backup_size(self.sector_size)) // self.sector_size

    @property
    def _primary(self) -> bytes:
        # One write: the kernel takes no backup, so the time that this one is unsound is short.
        return self._packed(1, self._last, 2).ljust(self.sector_size, b"\0") + self._array

    @property
    def _backup(self) -> bytes:
        header = self._packed(self._last, 1, self._backup_array)
        return self._array + header.ljust(self.sector_size, b"\0")

    @property
    def _array(self) -> bytes:
        return self._entries.ljust(align_up(len(self._entries), self.sector_size), b"\0")

    def _packed(self, own: int, other: int, array: int) -> bytes:
        fields = list(HEADER.unpack(self._header))
        fields[3], fields[5], fields[6], fields[10] = 0, own, other, array
        fields[8] = self.usable.end // self.sector_size - 1
        fields[13] = binascii.crc32(self._entries)
        fields[3] = binascii.crc32(HEADER.pack(*fields))
        return HEADER.pack(*fields)


def read_table(path: Path, sector_size: int = 512) -> TableInUse:
    """Return the table of the disk or image `path`: the primary one, else the backup.

    Raises InputError when neither is sound, or the disk has become smaller.
    """
    try:
        with path.open("rb") as file:
            return _read(file, sector_size)
    except (ValueError, struct.error) as error:
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
            copy = _read_primary(file, sector_size)
            return dict(_numbered(copy.entries, sector_size))
    except (ValueError, struct.error, OSError):
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
            primary = b"".join(iterate_bytes(plan.primary))
            backup = b"".join(iterate_bytes(plan.backup))
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
    return b"".join(iterate_bytes(plan.primary))[:sector_size]


@dataclass(frozen=True, slots=True)
class _Copy:
    """One sound copy; `alternate` is the sector of the other one's header."""

    guid: UUID
    entries: bytes
    alternate: int
    header: bytes = field(compare=False)


def _read_primary(file: BinaryIO, sector_size: int) -> _Copy:
    file.seek(sector_size)
    (alternate,) = struct.unpack_from("<Q", file.read(HEADER.size), _ALTERNATE)
    return _read_copy(file, sector_size, (1, alternate, 2))


def _read_copy(file: BinaryIO, sector_size: int, expected: tuple[int, int, int]) -> _Copy:
    guid, entries = read_copy(file, sector_size, expected=expected)
    file.seek(expected[0] * sector_size)
    return _Copy(guid, entries, expected[1], file.read(HEADER.size))


def _read(file: BinaryIO, sector_size: int) -> TableInUse:
    disk_size = file.seek(0, os.SEEK_END) // sector_size * sector_size
    file.seek(0)
    mbr = file.read(512)
    if mbr[510:] != b"\x55\xaa" or mbr[450] != 0xEE:
        raise ValueError("there is no protective MBR")
    last = disk_size // sector_size - 1
    end = disk_size - backup_size(sector_size)
    backup = _sound_backup(file, sector_size, (last, 1, end // sector_size))
    try:
        copy = _read_primary(file, sector_size)
        gained = (last - copy.alternate) * sector_size
        if gained < 0:
            raise ValueError(f"the table is for {disk_size - gained} bytes, not {disk_size}")
    except (ValueError, struct.error):
        if backup is None:
            raise
        copy, gained = backup, 0
    same = backup is not None and (backup.guid, backup.entries) == (copy.guid, copy.entries)
    first, usable_last = struct.unpack_from("<QQ", copy.header, _FIRST_USABLE)
    if gained:
        usable_last = end // sector_size - 1
    table = TableInUse(
        sector_size,
        disk_size,
        Range(
            max(first * sector_size, first_usable(sector_size)),
            min((usable_last + 1) * sector_size, end),
        ),
        same and copy.alternate == last,
        gained,
        copy.header,
        copy.entries,
    )
    _check(table)
    return table


def _sound_backup(file: BinaryIO, sector_size: int, expected: tuple[int, int, int]) -> _Copy | None:
    try:
        return _read_copy(file, sector_size, expected)
    except ValueError:
        return None


def _check(table: TableInUse) -> None:
    """Raise ValueError unless partitions lie apart, in the widest area that there can be."""
    start = first_usable(table.sector_size)
    end = table.disk_size - backup_size(table.sector_size)
    for part in sorted(table.partitions.values(), key=lambda each: each.offset):
        if part.size <= 0 or part.offset < start or part.end > end:
            raise ValueError(f"partition {part.label!a} is empty, overlaps another or is outside")
        start = part.end


def _raw_entries(array: bytes) -> Iterator[bytes]:
    return (array[at : at + ENTRY.size] for at in range(0, len(array), ENTRY.size))


def _numbered(array: bytes, sector_size: int) -> Iterator[tuple[int, Partition]]:
    for number, raw in enumerate(_raw_entries(array), start=1):
        kind, guid, first, last, attributes, name = ENTRY.unpack(raw)
        if kind != _NO_TYPE:
            yield (
                number,
                Partition(
                    name.decode("utf-16-le", "replace").split("\0", 1)[0],
                    UUID(bytes_le=kind),
                    UUID(bytes_le=guid),
                    first * sector_size,
                    (last - first + 1) * sector_size,
                    attributes,
                ),
            )


def _write(file: BinaryIO, offset: int, data: bytes) -> None:
    os.pwrite(file.fileno(), data, offset)
    os.fsync(file.fileno())


def _unwritten(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: the partition table cannot be written: {error.strerror}")
