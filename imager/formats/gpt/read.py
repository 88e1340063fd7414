"""Reads GUID partition tables of any writer.

UEFI Specification 2.10, 5.3.2 and 5.3.3. The number of entries, their size and the place of the
array come from the header: xorriso writes 248 entries, sgdisk moves the array. All are bounded.
"""

from __future__ import annotations

import binascii
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from imager.formats.gpt.table import Partition, check_apart
from imager.support.errors import InputError

HEADER = struct.Struct("<8s4sIIIQQQQ16sQIII")
ENTRY = struct.Struct("<16s16sQQQ72s")
SIGNATURE = b"EFI PART"
NO_TYPE = bytes(16)
_LARGEST_ENTRY = 4096
_LARGEST_ARRAY = 4 << 20
_PROTECTIVE = 0xEE


@dataclass(frozen=True, slots=True)
class GptTable:
    """The partition table of a disk image of `disk_size` bytes; both copies are sound."""

    disk_guid: UUID
    disk_size: int
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class TableCopy:
    """One sound copy of a table; places are sectors.

    `header` are its bytes at sector `place`, `alternate` is where the other header is, `entries`
    the bytes of the array at `array`, each entry having `entry_size` of them. Copies are equal
    whose GUID and entries are.
    """

    disk_guid: UUID
    entry_size: int
    entries: bytes
    header: bytes = field(compare=False)
    place: int = field(compare=False)
    alternate: int = field(compare=False)
    array: int = field(compare=False)

    def array_end(self, sector_size: int) -> int:
        """Return the byte after the array's last sector."""
        return (self.array + -(-len(self.entries) // sector_size)) * sector_size

    def raw_entries(self) -> Iterator[bytes]:
        """Yield the bytes of each entry."""
        starts = range(0, len(self.entries), self.entry_size)
        return (self.entries[start : start + self.entry_size] for start in starts)

    def partitions(self, sector_size: int) -> Mapping[int, Partition]:
        """Return the partitions by their numbers, from 1, wherever they claim to lie."""
        return dict(self._numbered(sector_size))

    def _numbered(self, sector_size: int) -> Iterator[tuple[int, Partition]]:
        for number, raw in enumerate(self.raw_entries(), start=1):
            kind, guid, first, last, attributes, name = ENTRY.unpack(raw[: ENTRY.size])
            if kind == NO_TYPE:
                continue
            label = name.decode("utf-16-le", "replace").split("\0", 1)[0]
            offset, size = first * sector_size, (last - first + 1) * sector_size
            ids = UUID(bytes_le=kind), UUID(bytes_le=guid)
            yield number, Partition(label, *ids, offset, size, attributes)


def read_gpt(path: Path, sector_size: int = 512) -> GptTable:
    """Return the partition table of the disk image `path`.

    Both copies are checked: signatures, CRCs, positions, that they agree, and that partitions lie
    apart between the copies. Raises InputError saying what is wrong.
    """
    try:
        with path.open("rb") as file:
            return _read_table(file, sector_size)
    except ValueError as error:
        raise InputError(
            f"{path}: no sound GPT with {sector_size}-byte sectors: {error}",
            hint="the image may be truncated or damaged: build or download it again",
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _read_table(file: BinaryIO, sector_size: int) -> GptTable:
    disk_size = file.seek(0, os.SEEK_END)
    if disk_size % sector_size:
        raise ValueError(f"{disk_size} bytes are not whole sectors")
    check_protective_mbr(file)
    last = disk_size // sector_size - 1
    primary = read_copy(file, sector_size, 1, alternate=last)
    backup = read_copy(file, sector_size, last, alternate=1)
    if primary != backup:
        raise ValueError("the backup differs from the primary table")
    partitions = tuple(primary.partitions(sector_size).values())
    check_apart(partitions, primary.array_end(sector_size), backup.array * sector_size)
    return GptTable(primary.disk_guid, disk_size, partitions)


def check_protective_mbr(file: BinaryIO) -> None:
    """Raise ValueError unless the disk begins with the MBR that a GPT has (UEFI 2.10, 5.2.3)."""
    mbr = _read_at(file, 0, 512)
    if mbr[510:] != b"\x55\xaa" or _PROTECTIVE not in mbr[450:510:16]:
        raise ValueError("there is no protective MBR")


def read_copy(
    file: BinaryIO, sector_size: int, place: int, *, alternate: int | None = None
) -> TableCopy:
    """Return the copy whose header is at sector `place`; raises ValueError if it is not sound.

    `alternate` is where it has to say that the other header is, None if anywhere. Which sectors
    the header calls usable is not checked, nor where partitions lie.
    """
    start = _read_at(file, place * sector_size, HEADER.size)
    signature, _, size, crc, _, own, other, *_, guid, array, count, each, array_crc = HEADER.unpack(
        start
    )
    if signature != SIGNATURE or not HEADER.size <= size <= sector_size:
        raise ValueError(f"sector {place} is not a header")
    header = _read_at(file, place * sector_size, size)
    if binascii.crc32(header[:16] + bytes(4) + header[20:]) != crc:
        raise ValueError(f"the header at sector {place} has a wrong checksum")
    if own != place or alternate not in (None, other):
        raise ValueError(f"the header at sector {place} is for a disk of another size")
    # Entries have 128 * 2^n bytes (table 5.5).
    if each < ENTRY.size or each > _LARGEST_ENTRY or each.bit_count() != 1:
        raise ValueError(f"the header at sector {place} has entries of {each} bytes")
    if not 1 <= count <= _LARGEST_ARRAY // each:
        raise ValueError(f"the header at sector {place} has {count} entries")
    entries = _read_at(file, array * sector_size, count * each)
    if binascii.crc32(entries) != array_crc:
        raise ValueError(f"the entries at sector {array} have a wrong checksum")
    copy = TableCopy(UUID(bytes_le=guid), each, entries, header, place, other, array)
    if array <= 1 or (array <= place < copy.array_end(sector_size) // sector_size):
        raise ValueError(f"the entries at sector {array} overlap a header")
    return copy


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    end = file.seek(0, os.SEEK_END)
    if offset + size > end:
        raise ValueError(f"it ends before byte {offset + size}")
    file.seek(offset)
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"it ends before byte {offset + size}")
    return data
