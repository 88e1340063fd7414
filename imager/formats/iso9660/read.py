"""Read foreign ISO 9660 volumes: ECMA-119 with Rock Ridge, else Joliet, else plain names.

The choice of the tree and the form of plain names follow Linux, which reads these images on a
machine. Specifications: ECMA-119 (https://ecma-international.org/
publications-and-standards/standards/ecma-119/), sections 8 and 9; Rock Ridge, in `susp.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imager.content.extents import Content
from imager.content.tree import Tree
from imager.formats.iso9660.rockridge import RockRidge, both_endian
from imager.formats.runs import Run
from imager.formats.volume_reader import (
    DamagedError,
    Format,
    Kind,
    OpenedVolume,
    RawEntry,
    opened_volume,
    read_tree,
)
from imager.support.errors import UnsupportedError
from imager.support.units import CD_SECTOR

_FIRST_DESCRIPTOR = 16
_MOST_DESCRIPTORS = 64
_MAGIC = b"CD001"
_PRIMARY, _SUPPLEMENTARY, _TERMINATOR = 1, 2, 255
_JOLIET = frozenset((b"%/@", b"%/C", b"%/E"))
_FIXED = 33
_FOLDER, _ASSOCIATED, _CONTINUED = 0x02, 0x04, 0x80
_SELF, _ABOVE = b"\0", b"\1"


@dataclass(frozen=True, slots=True)
class _Place:
    """The location of a file or folder: its first sector, and its sections as (offset, size)."""

    sector: int
    sections: tuple[tuple[int, int], ...] = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Record:
    """A directory record (ECMA-119, section 9.1) for `size` bytes at `sector`."""

    length: int
    sector: int
    size: int
    flags: int
    identifier: bytes
    system_use: bytes

    @classmethod
    def parse(cls, data: bytes, at: int) -> _Record:
        length = data[at]
        if length < _FIXED + 1 or at + length > len(data) or length < _FIXED + data[at + 32]:
            raise DamagedError("a directory record is truncated")
        record = data[at : at + length]
        sector, size = both_endian(record, 2), both_endian(record, 10)
        flags, unit, gap, name_length = record[25], record[26], record[27], record[32]
        if unit or gap:
            raise DamagedError("a file is interleaved, which is not supported")
        end = _FIXED + name_length
        # A file's extended attributes precede its data.
        return cls(
            length, sector + record[1], size, flags, record[_FIXED:end], record[end + end % 2 :]
        )

    @property
    def is_folder(self) -> bool:
        return bool(self.flags & _FOLDER)

    @property
    def section(self) -> tuple[int, int]:
        return self.sector * CD_SECTOR, self.size


def is_iso9660(head: bytes) -> bool:
    """Return whether a file that starts with `head`, at least 34 KiB, is an ISO."""
    start = _FIRST_DESCRIPTOR * CD_SECTOR
    return head[start + 1 : start + 6] == _MAGIC


def open_iso9660(source: Path | Content, *, folder: str = "", name: str = "") -> Tree:
    """Return the contents of `folder` in the ISO `source`; see `read_tree`.

    Ignores boot code and partitions. Raises InputError for a damaged or truncated volume,
    UnsupportedError for compressed files or a sector size other than 2048 bytes, OutputError for
    a read error.
    """
    with opened_volume(source, offset=0, size=None, what="ISO 9660", name=name) as volume:
        return read_tree(volume, _Iso(volume), folder)


def read_iso9660_label(source: Path | Content) -> str:
    """Return the volume id of the ISO `source`, without trailing spaces.

    Raises like `open_iso9660`.
    """
    with opened_volume(source, offset=0, size=None, what="ISO 9660") as volume:
        primary, _ = _descriptors(volume)
        return primary[40:72].decode("ascii", "replace").rstrip(" \0")


class _Iso(Format[_Place]):
    def __init__(self, volume: OpenedVolume) -> None:
        self._volume = volume
        primary, joliet = _descriptors(volume)
        if both_endian(primary, 80) * CD_SECTOR > volume.size:
            raise DamagedError("the file is truncated")
        record = _Record.parse(primary, 156)
        self._rock_ridge = RockRidge.of(volume, self._first(record.sector).system_use)
        self._is_joliet = joliet is not None and self._rock_ridge is None
        if joliet is not None and self._is_joliet:
            record = _Record.parse(joliet, 156)
        self.root = self._folder(record)

    def entries(self, folder: _Place) -> Iterator[RawEntry[_Place]]:
        begun: list[_Record] = []
        for record in self._records(folder):
            if record.identifier in (_SELF, _ABOVE) or record.flags & _ASSOCIATED:
                continue
            self._volume.count()
            if begun and (begun[0].identifier != record.identifier or record.is_folder):
                raise DamagedError("a file has an incomplete list of sections")
            begun.append(record)
            if not record.flags & _CONTINUED:
                yield from self._entry(begun)
                begun = []
        if begun:
            raise DamagedError("a file has an incomplete list of sections")

    def content(self, file: _Place) -> Content:
        return self._volume.content(sum(size for _, size in file.sections), _runs(file))

    def _records(self, folder: _Place) -> Iterator[_Record]:
        ((start, size),) = folder.sections
        for offset in range(start, start + size, CD_SECTOR):
            data = self._volume.read(offset, min(CD_SECTOR, start + size - offset))
            at = 0
            # Records do not cross sectors; the rest of a sector is zeros.
            while at < len(data) and data[at]:
                record = _Record.parse(data, at)
                yield record
                at += record.length

    def _entry(self, records: list[_Record]) -> Iterator[RawEntry[_Place]]:
        """Yield the entry of a file's or folder's records; nothing for a relocated folder."""
        first = records[0]
        name = self._plain_name(first.identifier)
        kind = Kind.FOLDER if first.is_folder else Kind.FILE
        place = _Place(first.sector, tuple(record.section for record in records))
        target = ""
        if self._rock_ridge is not None:
            told = self._rock_ridge.read(first.system_use)
            if told.is_relocated:
                return
            name = told.name or name
            if told.is_compressed:
                raise UnsupportedError(
                    f"{self._volume.name}: {name!a} is compressed in the ISO (zisofs)",
                    hint="copy the files to a folder, and use that folder",
                )
            if told.child is not None:
                kind, place = Kind.FOLDER, self._folder(self._first(told.child))
            elif told.is_other:
                kind, target = Kind.OTHER, told.target
        if kind is Kind.FOLDER and len(place.sections) > 1:
            raise DamagedError(f"the folder {name!a} has several sections")
        yield RawEntry(name, kind, place, target)

    def _plain_name(self, identifier: bytes) -> str:
        """Return the identifier's name as Linux shows it: without version, in lower case."""
        name = identifier.decode("utf-16-be" if self._is_joliet else "latin-1", "replace")
        name = name.removesuffix(";1").removesuffix(".")
        return name if self._is_joliet else name.lower()

    def _first(self, sector: int) -> _Record:
        """Return the folder's own record (`.`) at `sector`."""
        record = _Record.parse(self._volume.read(sector * CD_SECTOR, CD_SECTOR), 0)
        if record.identifier != _SELF or record.sector != sector:
            raise DamagedError(f"there is no folder at sector {sector}")
        return record

    def _folder(self, record: _Record) -> _Place:
        if not record.is_folder:
            raise DamagedError(f"there is no folder at sector {record.sector}")
        return _Place(record.sector, (record.section,))


def _runs(file: _Place) -> Iterator[Run]:
    offset = 0
    for place, size in file.sections:
        if size:
            yield Run(offset, place, size)
        offset += size


def volume_descriptors(volume: OpenedVolume) -> Iterator[bytes]:
    """Yield the volume descriptors before the terminator; raises DamagedError."""
    for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + _MOST_DESCRIPTORS):
        data = volume.read(number * CD_SECTOR, CD_SECTOR)
        if data[1:6] != _MAGIC:
            raise DamagedError(f"sector {number} is not a volume descriptor")
        if data[0] == _TERMINATOR:
            return
        yield data
    raise DamagedError("the volume descriptors are not terminated")


def _descriptors(volume: OpenedVolume) -> tuple[bytes, bytes | None]:
    """Return the primary volume descriptor, and Joliet's if there is one."""
    primary = joliet = None
    for data in volume_descriptors(volume):
        if data[0] == _PRIMARY and primary is None:
            primary = data
        elif data[0] == _SUPPLEMENTARY and data[88:91] in _JOLIET and joliet is None:
            joliet = data
    if primary is None:
        raise DamagedError("it has no primary volume descriptor")
    (block,) = struct.unpack_from("<H", primary, 128)
    if block != CD_SECTOR:
        raise UnsupportedError(
            f"{volume.name}: unsupported ISO block size: {block} bytes, not {CD_SECTOR}"
        )
    return primary, joliet
