"""Fixed VHD disk images: the raw disk, and a footer of one sector behind it.

Specification: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0. All numbers
are big-endian. Azure takes fixed VHDs alone, of whole MiB.

Old readers compute the size from the geometry in the footer, of cylinders, heads and sectors per
track, which most sizes are not a multiple of. There are two ways out, both as in qemu-img:

- `force_size`: the geometry is the largest one, and the creator "qem2". Readers then use the size.
- otherwise the disk grows to a multiple of its geometry, and the creator is "qemu".
"""

from __future__ import annotations

import struct
from itertools import count
from typing import NamedTuple
from uuid import UUID

from imager.content.extents import Content
from imager.formats.sectors import SECTOR, sector_count
from imager.support.errors import UnsupportedError
from imager.support.units import format_size

_FOOTER = struct.Struct(">8sIIQI4sHH4sQQHBBII16s428x")
_CHECKSUM = struct.Struct(">I")
_CHECKSUM_AT = 64
_RESERVED_FEATURE = 2
_VERSION = 0x00010000
_NO_NEXT = 0xFFFFFFFFFFFFFFFF
_FIXED = 2
# 2000-01-01T00:00:00Z, from which a footer counts.
_EPOCH = 946_684_800
_LATEST = 0xFFFFFFFF
# 2040 GiB, the limit of the format's readers.
_MOST_SECTORS = 0xFF000000


class _Geometry(NamedTuple):
    cylinders: int
    heads: int
    sectors: int

    @property
    def total(self) -> int:
        return self.cylinders * self.heads * self.sectors


_LARGEST = _Geometry(65535, 16, 255)


def plan_vhd(disk: Content, *, created: int, uuid: UUID, force_size: bool = True) -> Content:
    """Return `disk` as a fixed VHD, created at `created` (seconds since 1970, UTC).

    Without `force_size` the disk may grow, see the module. Raises InputError unless the disk is a
    whole number of sectors, UnsupportedError for a disk of more than 2040 GiB.
    """
    sectors = sector_count(disk, "VHD")
    if sectors > _MOST_SECTORS:
        raise UnsupportedError(
            f"VHD: a disk of {format_size(disk.size)} is too large", hint="use at most 2040 GiB"
        )
    geometry = _LARGEST if force_size else _geometry(sectors)
    if geometry != _LARGEST:
        sectors = geometry.total
    size = sectors * SECTOR
    footer = _footer(size, geometry, b"qem2" if force_size else b"qemu", created, uuid)
    return Content.concat([disk.padded(size), Content.of_bytes(footer)])


def _footer(size: int, geometry: _Geometry, creator: bytes, created: int, uuid: UUID) -> bytes:
    footer = bytearray(
        _FOOTER.pack(
            b"conectix", _RESERVED_FEATURE, _VERSION, _NO_NEXT,
            min(max(created - _EPOCH, 0), _LATEST), creator, 5, 3, b"Wi2k", size, size, *geometry,
            _FIXED, 0, uuid.bytes,
        )
    )  # fmt: skip
    _CHECKSUM.pack_into(footer, _CHECKSUM_AT, ~sum(footer) & 0xFFFFFFFF)
    return bytes(footer)


def _geometry(sectors: int) -> _Geometry:
    """Return the geometry of the smallest disk with at least `sectors` that has one."""
    if sectors >= _LARGEST.total:
        return _LARGEST
    found = map(_geometry_below, count(sectors))
    return next(geometry for geometry in found if geometry.total >= sectors)


def _geometry_below(sectors: int) -> _Geometry:
    """Return the geometry that the specification's appendix computes; its total may be less."""
    if sectors >= 65535 * 16 * 63:
        return _of_tracks(min(sectors, _LARGEST.total), 16, 255)
    heads = max(-(-(sectors // 17) // 1024), 4)
    if heads <= 16 and sectors // 17 < heads * 1024:
        return _of_tracks(sectors, heads, 17)
    if sectors // 31 < 16 * 1024:
        return _of_tracks(sectors, 16, 31)
    return _of_tracks(sectors, 16, 63)


def _of_tracks(total: int, heads: int, sectors: int) -> _Geometry:
    return _Geometry(total // sectors // heads, heads, sectors)
