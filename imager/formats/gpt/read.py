"""Read GUID partition tables from any writer.

UEFI Specification 2.10, 5.3.2 and 5.3.3. The header defines number and size of the entries and the
location of the array: xorriso writes 248 entries, sgdisk moves the array. All are bounds-checked.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from imager.content.extents import Content
from imager.content.random_access import ContentReader, as_content
from imager.formats.errors import DamagedVolumeError
from imager.formats.gpt.entries import (
    ENTRY_SIZE,
    Partition,
    numbered_partitions,
    split_entries,
)
from imager.formats.gpt.table import ARRAY, HEADER_SIZE, Range, Table
from imager.support.errors import InputError
from imager.support.units import SECTOR_SIZES, align_up

_SIGNATURE = b"EFI PART"
_FIELDS = struct.Struct("<8s4sIIIQQQQ16sQIII")
# The type of the protective MBR's partition.
PROTECTIVE = 0xEE
_LARGEST_ENTRY = 4096
_LARGEST_ARRAY = 4 << 20


class _Header(NamedTuple):
    """The fields of a header, in order."""

    signature: bytes
    revision: bytes
    size: int
    crc: int
    reserved: int
    place: int
    alternate: int
    first_usable: int
    last_usable: int
    guid: bytes
    array: int
    entry_count: int
    entry_size: int
    entries_crc: int


@dataclass(frozen=True, slots=True)
class _Copy:
    """A valid copy of a table: its header, the data after the header's fields, its entries."""

    header: _Header
    extension: bytes
    entries: bytes

    @property
    def contents(self) -> tuple[bytes, int, bytes]:
        """The data that both copies of a table share."""
        return self.header.guid, self.header.entry_size, self.entries

    def partitions(self, sector_size: int) -> Mapping[int, Partition]:
        """Return the partitions by number, without checking their ranges."""
        entries = split_entries(self.entries, self.header.entry_size)
        return dict(numbered_partitions(entries, sector_size))


def gpt_sector_size(head: bytes) -> int | None:
    """Return the GPT sector size of an image that starts with `head`; None without a GPT."""
    found = (size for size in SECTOR_SIZES if head[size:].startswith(_SIGNATURE))
    return next(found, None)


def read_gpt(source: Path | Content, sector_size: int = 512, *, name: str = "") -> Table:
    """Return the partition table of the disk image `source`, which must be fully valid.

    Verifies signatures, CRCs and positions of both copies, that they match, and that partitions
    do not overlap each other or the copies. Raises InputError with the problem.
    """
    hint = "the image may be truncated or damaged: build or download it again"
    with _reading(source, sector_size, hint, name) as disk:
        table = _read(disk, sector_size)
        if disk.size != table.disk_size:
            raise ValueError(f"{disk.size} bytes is not a whole number of sectors")
        if table.problem:
            raise ValueError(table.problem)
        return table


def read_table(source: Path | Content, sector_size: int = 512, *, name: str = "") -> Table:
    """Return the primary table of the disk or image `source`, or the backup if it is invalid.

    Raises InputError if neither is valid, or if the disk is smaller than the table says.
    """
    hint = "repair it with `sgdisk`, or wipe the disk if nothing on it is needed"
    with _reading(source, sector_size, hint, name) as disk:
        return _read(disk, sector_size)


def read_numbered(path: Path, sector_size: int = 512) -> Mapping[int, Partition]:
    """Return the partitions of the primary table by number; empty if it cannot be read."""
    try:
        with ContentReader(as_content(path)) as disk:
            return _read_copy(disk, sector_size, 1).partitions(sector_size)
    except (ValueError, OSError):
        return {}


@contextmanager
def _reading(
    source: Path | Content, sector_size: int, hint: str, name: str
) -> Iterator[ContentReader]:
    name = name or (str(source) if isinstance(source, Path) else "the image")
    try:
        with ContentReader(as_content(source)) as disk:
            yield disk
    except ValueError as error:
        raise DamagedVolumeError(
            f"{name}: no valid GPT with {sector_size}-byte sectors: {error}", hint=hint
        ) from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from error


def _read(disk: ContentReader, sector_size: int) -> Table:
    disk_size = disk.size // sector_size * sector_size
    _check_protective_mbr(disk)
    last = disk_size // sector_size - 1
    backup, problem = _read_backup(disk, sector_size, last)
    try:
        copy = _read_copy(disk, sector_size, 1)
        gained = (last - copy.header.alternate) * sector_size
        for_size = f"the table describes a disk of {disk_size - gained} bytes, not {disk_size}"
        if gained < 0:
            raise ValueError(for_size)
    except ValueError as error:
        if backup is None:
            raise
        # The backup does not record the location of the primary array.
        copy = replace(backup, header=backup.header._replace(array=ARRAY))
        gained, problem = 0, str(error)
    else:
        problem = for_size if gained else problem or _difference(copy, backup, sector_size)
    table = _table(copy, disk_size, sector_size, gained=gained, problem=problem)
    table.check()
    return table


def _table(copy: _Copy, disk_size: int, sector_size: int, *, gained: int, problem: str) -> Table:
    header = copy.header
    array = align_up(len(copy.entries), sector_size)
    end = disk_size - sector_size - array
    return Table(
        disk_guid=UUID(bytes_le=header.guid),
        disk_size=disk_size,
        sector_size=sector_size,
        usable=Range(
            max(header.first_usable * sector_size, header.array * sector_size + array),
            end if gained else min((header.last_usable + 1) * sector_size, end),
        ),
        entries=copy.entries,
        entry_size=header.entry_size,
        array=header.array,
        revision=header.revision,
        reserved=header.reserved,
        extension=copy.extension,
        problem=problem,
        gained=gained,
    )


def _read_backup(disk: ContentReader, sector_size: int, last: int) -> tuple[_Copy | None, str]:
    """Return the backup, or None and its problem."""
    try:
        return _read_copy(disk, sector_size, last, alternate=1), ""
    except ValueError as error:
        return None, str(error)


def _difference(primary: _Copy, backup: _Copy | None, sector_size: int) -> str:
    """Return why `backup` is not a valid backup of `primary`; "" if it is."""
    if backup is None or primary.contents != backup.contents:
        return "the backup differs from the primary table"
    start = backup.header.array * sector_size
    if any(part.end > start for part in backup.partitions(sector_size).values()):
        return "a partition overlaps the backup table"
    return ""


def _check_protective_mbr(disk: ContentReader) -> None:
    """Raise ValueError unless the disk starts with a protective MBR (UEFI 2.10, 5.2.3)."""
    mbr = _read_at(disk, 0, 512)
    if mbr[510:] != b"\x55\xaa" or PROTECTIVE not in mbr[450:510:16]:
        raise ValueError("there is no protective MBR")


def _read_copy(
    disk: ContentReader, sector_size: int, place: int, *, alternate: int | None = None
) -> _Copy:
    """Return the copy whose header is at sector `place`; raises ValueError if it is invalid.

    `alternate` is the required location of the other header in this one; None accepts any. Does
    not check the usable range in the header, nor the ranges of partitions.
    """
    header = _Header(*_FIELDS.unpack(_read_at(disk, place * sector_size, HEADER_SIZE)))
    if header.signature != _SIGNATURE or not HEADER_SIZE <= header.size <= sector_size:
        raise ValueError(f"sector {place} is not a header")
    raw = _read_at(disk, place * sector_size, header.size)
    if binascii.crc32(raw[:16] + bytes(4) + raw[20:]) != header.crc:
        raise ValueError(f"the header at sector {place} has a wrong checksum")
    if header.place != place or alternate not in (None, header.alternate):
        raise ValueError(f"the header at sector {place} is for a disk of another size")
    # Entries have 128 * 2^n bytes (table 5.5).
    size = header.entry_size
    if size < ENTRY_SIZE or size > _LARGEST_ENTRY or size.bit_count() != 1:
        raise ValueError(f"the header at sector {place} has entries of {size} bytes")
    if not 1 <= header.entry_count <= _LARGEST_ARRAY // size:
        raise ValueError(f"the header at sector {place} has {header.entry_count} entries")
    entries = _read_at(disk, header.array * sector_size, header.entry_count * size)
    if binascii.crc32(entries) != header.entries_crc:
        raise ValueError(f"the entries at sector {header.array} have a wrong checksum")
    end = header.array + align_up(len(entries), sector_size) // sector_size
    if header.array <= 1 or header.array <= place < end:
        raise ValueError(f"the entries at sector {header.array} overlap a header")
    return _Copy(header, raw[HEADER_SIZE:], entries)


def _read_at(disk: ContentReader, offset: int, size: int) -> bytes:
    if offset + size > disk.size:
        raise ValueError(f"it ends before byte {offset + size}")
    return disk.read(offset, size)
