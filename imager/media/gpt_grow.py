"""A partition table whose disk has become larger: an image written to a disk of another size.

UEFI Specification 2.10, 5.3.2: the backup header belongs into the last sector, and what lies behind
it cannot be used until it is there. Entries stay as they are, byte for byte.
"""

from __future__ import annotations

import binascii
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from imager.errors import InputError, OutputError
from imager.media.gpt import HEADER, backup_size, read_copy

_MBR_ENTRY_SIZE = 458  # of the first entry, its number of sectors
_MBR_LARGEST = 0xFFFF_FFFF
_ALTERNATE = 32  # in a header, the sector of the other one


@dataclass(frozen=True, slots=True)
class Growth:
    """The size in bytes that a table was for, and that of its disk."""

    table: int
    disk: int

    @property
    def gained(self) -> int:
        """The bytes that could not be used before."""
        return self.disk - self.table


def read_growth(path: Path, sector_size: int = 512) -> Growth:
    """Return how large the disk or image `path` is, and how large its table takes it for.

    Raises InputError when there is no sound primary table, or it is for a larger disk.
    """
    try:
        with path.open("rb") as file:
            return _Table.read(file, sector_size).growth
    except (ValueError, struct.error) as error:
        raise _unsound(path, sector_size, error) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def grow_gpt(path: Path, sector_size: int = 512) -> Growth:
    """Move the backup table to the end of the disk or image `path`, if it is not there.

    At every moment one table is sound, and what was cut off is done again: the primary header
    tells of the rest, and comes last. Returns what the sizes were. Raises as `read_growth`,
    OutputError when writing fails.
    """
    growth = read_growth(path, sector_size)
    if not growth.gained:
        return growth
    try:
        with path.open("r+b", buffering=0) as file:
            table = _Table.read(file, sector_size)
            _write(file, _MBR_ENTRY_SIZE, table.mbr_size)
            _write(file, table.backup_offset, table.entries + table.backup_header)
            _write(file, sector_size, table.primary_header)
    except (ValueError, struct.error) as error:
        raise _unsound(path, sector_size, error) from error
    except OSError as error:
        raise OutputError(f"{path}: the table cannot be moved: {error.strerror}") from error
    return growth


@dataclass(frozen=True, slots=True)
class _Table:
    """A primary header, its entries (whole sectors), and the disk that they are on."""

    header: bytes
    entries: bytes
    sector_size: int
    growth: Growth

    @classmethod
    def read(cls, file: BinaryIO, sector_size: int) -> _Table:
        size = file.seek(0, os.SEEK_END) // sector_size * sector_size
        file.seek(sector_size)
        header = file.read(HEADER.size)
        (alternate,) = struct.unpack_from("<Q", header, _ALTERNATE)
        _, entries = read_copy(file, sector_size, expected=(1, alternate, 2))
        growth = Growth((alternate + 1) * sector_size, size)
        if growth.gained < 0:
            raise ValueError(f"the table is for {growth.table} bytes, the disk has {size}")
        whole = backup_size(sector_size) - sector_size
        return cls(header, entries.ljust(whole, b"\0"), sector_size, growth)

    @property
    def backup_offset(self) -> int:
        return self.growth.disk - backup_size(self.sector_size)

    @property
    def primary_header(self) -> bytes:
        return self._header(1, self._last, 2)

    @property
    def backup_header(self) -> bytes:
        array = self.backup_offset // self.sector_size
        return self._header(self._last, 1, array).ljust(self.sector_size, b"\0")

    @property
    def mbr_size(self) -> bytes:
        return struct.pack("<I", min(self._last, _MBR_LARGEST))

    @property
    def _last(self) -> int:
        return self.growth.disk // self.sector_size - 1

    def _header(self, own: int, other: int, array: int) -> bytes:
        fields = list(HEADER.unpack(self.header))
        fields[3], fields[5], fields[6], fields[10] = 0, own, other, array
        fields[8] = self.backup_offset // self.sector_size - 1
        fields[3] = binascii.crc32(HEADER.pack(*fields))
        return HEADER.pack(*fields)


def _write(file: BinaryIO, offset: int, data: bytes) -> None:
    os.pwrite(file.fileno(), data, offset)
    os.fsync(file.fileno())


def _unsound(path: Path, sector_size: int, error: Exception) -> InputError:
    return InputError(
        f"{path}: no sound GPT with {sector_size}-byte sectors: {error}",
        hint="write the image to the disk again",
    )
