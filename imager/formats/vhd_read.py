"""Read VHD disk images, fixed and dynamic: the raw disk as parts of the file.

Specification: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0. All numbers
are big-endian. Differencing images need another file, and are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.formats.errors import DamagedVolumeError
from imager.formats.numbers import read_numbers
from imager.formats.packed_parts import disk_of
from imager.formats.runs import Run
from imager.formats.sectors import SECTOR
from imager.support.errors import UnsupportedError
from imager.support.units import align_up

_COOKIE, _DYNAMIC_COOKIE = b"conectix", b"cxsparse"
FOOTER = 512
_FIXED, _DYNAMIC = 2, 3
_CHECKSUM = slice(64, 68)
_UNUSED = 0xFFFFFFFF
_MOST_BLOCKS = 1 << 21
_HEADER = struct.Struct(">8sQQIII")


def is_vhd(start: bytes, end: bytes) -> bool:
    """Return whether a file with these first and last 512 bytes is a VHD."""
    return end.startswith(_COOKIE) or start.startswith(_COOKIE)


def open_vhd(image: Content, *, name: str = "the image") -> Content:
    """Return the disk in a VHD; `name` is for messages.

    Raises DamagedVolumeError, and UnsupportedError for a differencing image.
    """
    with ContentReader(image) as reader:
        footer = reader.read(image.size - FOOTER, FOOTER)
        if not _is_valid(footer):
            # A dynamic image begins with a copy.
            footer = reader.read(0, FOOTER)
        if not _is_valid(footer):
            raise DamagedVolumeError(f"{name}: the footer of the VHD is damaged")
        size = int.from_bytes(footer[48:56], "big")
        kind = int.from_bytes(footer[60:64], "big")
        if kind == _FIXED:
            return image.slice(0, min(size, image.size))
        if kind != _DYNAMIC:
            raise UnsupportedError(
                f"{name}: a VHD of type {kind} is not supported",
                hint="convert it first: `qemu-img convert -O vpc OLD NEW`",
            )
        parts = _parts(reader, int.from_bytes(footer[16:24], "big"), size, name)
        return disk_of(image, size, parts, name=f"{name}: the VHD")


def _is_valid(footer: bytes) -> bool:
    if len(footer) < FOOTER or not footer.startswith(_COOKIE):
        return False
    total = sum(footer) - sum(footer[_CHECKSUM])
    return int.from_bytes(footer[_CHECKSUM], "big") == ~total & 0xFFFFFFFF


def _parts(reader: ContentReader, place: int, size: int, name: str) -> Iterator[Run]:
    header = reader.read(place, 1024)
    if not header.startswith(_DYNAMIC_COOKIE) or len(header) < _HEADER.size:
        raise DamagedVolumeError(f"{name}: the header of the dynamic VHD is damaged")
    _, _, table, _, entries, block = _HEADER.unpack_from(header)
    needed = -(-size // block) if block else 0
    if block % SECTOR or not block or entries < needed or needed > _MOST_BLOCKS:
        raise DamagedVolumeError(f"{name}: the dynamic VHD has a table of a wrong size")
    raw = reader.read(table, needed * 4)
    if len(raw) < needed * 4:
        raise DamagedVolumeError(f"{name}: the dynamic VHD ends inside of its table")
    # Each block begins with a bitmap of its sectors.
    bitmap = align_up(-(-block // SECTOR // 8), SECTOR)
    for number, sector in enumerate(read_numbers(raw, "I", "big")):
        if sector != _UNUSED:
            yield Run(number * block, sector * SECTOR + bitmap, block)
