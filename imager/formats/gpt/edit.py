"""Write partition tables to disks in use.

UEFI Specification 2.10, 5.3.2 and 5.3.3. The backup is written first, then the primary table, so
that one of them is valid at any time. The space between them is not written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from imager.formats.gpt.table import ARRAY, Table, plan_gpt
from imager.support.errors import OutputError

_MBR_SIZE = slice(458, 462)  # the sector count of its first entry


def write_table(table: Table, path: Path) -> None:
    """Write both copies to the disk `path`, the backup at its end first; raises OutputError.

    After an interruption, calling it again completes the write: the primary header, which refers
    to everything else, is written last.
    """
    with _writing(path) as file:
        if table.gained:
            _write(file, _MBR_SIZE.start, table.mbr[_MBR_SIZE])
        _write(file, table.backup_offset, table.padded_entries + table.backup_header)
        if table.array != ARRAY:
            _write(file, table.array * table.sector_size, table.padded_entries)
            _write(file, table.sector_size, table.header)
        else:  # in one write: the kernel does not use the backup
            _write(file, table.sector_size, table.header + table.padded_entries)


def write_empty_table(path: Path, *, guid: UUID, sector_size: int = 512) -> None:
    """Write a table without partitions to the blank disk `path`; raises OutputError.

    The zeros already on the disk are its entries. An interrupted write leaves the protective MBR
    (see `protective_mbr`) alone or with one valid copy.
    """
    with _writing(path) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            table = _empty(size, guid, sector_size)
        except ValueError as error:
            raise OutputError(f"{path}: cannot create a partition table: {error}") from error
        _write(file, 0, table.mbr)
        _write(file, table.disk_size - sector_size, table.backup_header)
        _write(file, sector_size, table.header)


def protective_mbr(disk_size: int, sector_size: int = 512) -> bytes:
    """Return the first sector of a disk with an empty table; ValueError if the disk is too small.

    https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html#protective-mbr
    """
    return _empty(disk_size, UUID(int=0), sector_size).mbr


def _empty(disk_size: int, guid: UUID, sector_size: int) -> Table:
    size = disk_size // sector_size * sector_size
    return plan_gpt([], disk_size=size, disk_guid=guid, sector_size=sector_size)


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("r+b", buffering=0) as file:
            yield file
    except OSError as error:
        raise OutputError(f"{path}: cannot write the partition table: {error.strerror}") from error


def _write(file: BinaryIO, offset: int, data: bytes) -> None:
    os.pwrite(file.fileno(), data, offset)
    os.fsync(file.fileno())
