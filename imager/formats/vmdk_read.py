"""Read sparse VMDK disk images: the raw disk as parts of the file, compressed grains as streams.

Specification: VMware, Virtual Disk Format 5.0. All numbers are little-endian. Images with a
parent, or with their data in other files, are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imager.content.extents import Codec, Content
from imager.content.random_access import ContentReader
from imager.formats.errors import DamagedVolumeError
from imager.formats.numbers import read_numbers
from imager.formats.packed_parts import disk_of
from imager.formats.runs import Run
from imager.formats.sectors import SECTOR
from imager.support.errors import UnsupportedError

_MAGIC = b"KDMV"
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_COMPRESSED = 1 << 16
_AT_END = (1 << 64) - 1
_FOOTER_FROM_END = 1024
_MARKER = struct.Struct("<QI")
_LARGEST_GRAIN = 2 << 20
_MOST_TABLES = 1 << 16
_MOST_GRAINS = 1 << 21
_LARGEST_DESCRIPTOR = 64 << 10


def is_vmdk(head: bytes) -> bool:
    """Return whether a file that starts with `head` is a sparse VMDK."""
    return head.startswith(_MAGIC)


@dataclass(frozen=True, slots=True)
class _Header:
    """The header, in bytes; `per_table` is the number of grains of a grain table."""

    size: int
    grain: int
    per_table: int
    directory: int
    is_compressed: bool

    @classmethod
    def parse(cls, raw: bytes, name: str) -> _Header:
        if len(raw) < _HEADER.size or not raw.startswith(_MAGIC):
            raise DamagedVolumeError(f"{name}: the VMDK header is damaged")
        _, _, flags, capacity, grain, _, _, per_table, _, directory, *_ = _HEADER.unpack_from(raw)
        if not 0 < grain * SECTOR <= _LARGEST_GRAIN or not 0 < per_table <= 1 << 16:
            raise DamagedVolumeError(f"{name}: the VMDK header has invalid sizes")
        place = directory if directory == _AT_END else directory * SECTOR
        return cls(capacity * SECTOR, grain * SECTOR, per_table, place, bool(flags & _COMPRESSED))


def open_vmdk(image: Content, *, name: str = "the image") -> Content:
    """Return the disk in a VMDK; `name` is for messages.

    Raises DamagedVolumeError, and UnsupportedError for an image that needs other files.
    """
    with ContentReader(image) as reader:
        raw = reader.read(0, SECTOR)
        header = _Header.parse(raw, name)
        if header.directory == _AT_END:
            # Written as a stream: what the header could not know is at the end.
            raw = reader.read(image.size - _FOOTER_FROM_END, SECTOR)
            header = _Header.parse(raw, name)
        _check_descriptor(reader, raw, name)
        return disk_of(image, header.size, _parts(reader, header, name), name=f"{name}: the VMDK")


def _check_descriptor(reader: ContentReader, raw: bytes, name: str) -> None:
    start, length = struct.unpack_from("<QQ", raw, 28)
    text = reader.read(start * SECTOR, min(length * SECTOR, _LARGEST_DESCRIPTOR)) if start else b""
    parent = b"parentCID=" in text and b"parentCID=ffffffff" not in text.lower().replace(
        b"parentcid", b"parentCID"
    )
    if parent:
        raise UnsupportedError(f"{name}: a VMDK with a parent is not supported")


def _parts(reader: ContentReader, header: _Header, name: str) -> Iterator[Run]:
    per_table = header.grain * header.per_table
    tables = -(-header.size // per_table)
    if tables > _MOST_TABLES:
        raise UnsupportedError(f"{name}: the VMDK is too large")
    directory = read_numbers(reader.read(header.directory, tables * 4), "I", "little")
    if len(directory) < tables:
        raise DamagedVolumeError(f"{name}: the VMDK ends inside of its grain directory")
    grains = 0
    for number, sector in enumerate(directory):
        if not sector:
            continue
        raw = reader.read(sector * SECTOR, header.per_table * 4)
        for index, grain in enumerate(read_numbers(raw, "I", "little")):
            # 1 stands for a grain of zeros.
            if grain < 2:
                continue
            grains += 1
            if grains > _MOST_GRAINS:
                raise UnsupportedError(f"{name}: the VMDK has too many grains")
            offset = number * per_table + index * header.grain
            yield _part(reader, header, offset, grain * SECTOR, name)


def _part(reader: ContentReader, header: _Header, offset: int, place: int, name: str) -> Run:
    if not header.is_compressed:
        return Run(offset, place, header.grain)
    marker = reader.read(place, _MARKER.size)
    if len(marker) < _MARKER.size:
        raise DamagedVolumeError(f"{name}: the VMDK is cut off at byte {place}")
    sector, length = _MARKER.unpack(marker)
    if sector * SECTOR != offset or not 0 < length <= 2 * header.grain + SECTOR:
        raise DamagedVolumeError(f"{name}: the VMDK has a damaged grain at byte {place}")
    return Run(offset, place + _MARKER.size, header.grain, length, Codec.ZLIB)
