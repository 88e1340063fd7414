"""Stream-optimized VMDK disk images, as vSphere imports them.

Specification: VMware, Virtual Disk Format 5.0. All numbers are little-endian, and offsets are in
sectors of 512 bytes:

    header | descriptor (20) | grain directory | grain tables | grains | end of stream

The tables are in front, where VMware's own tools expect them; they are written last. Grains are in
the disk's order. Grains that are a hole or contain zeros alone are left out.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import IO

from imager.content.extents import Content
from imager.content.packing.chunks import packed_data
from imager.formats.grains import GRAIN, Grain, compress_grains
from imager.formats.numbers import stored_numbers
from imager.formats.sectors import SECTOR, sector_count
from imager.support.errors import UnsupportedError
from imager.support.reporter import Advance
from imager.support.units import align_up, format_size

_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH433x")
_VERSION = 3
# The line ends can be checked, grains are compressed and begin with a marker.
_FLAGS = 0x30001
_DEFLATE = 1
_LINE_ENDS = b"\n \r\n"
_MARKER = struct.Struct("<QI")
_DESCRIPTOR_AT = 1
_DESCRIPTOR = 20
_PER_TABLE = 512
_ENTRY = 4
_TABLE_SECTORS = _PER_TABLE * _ENTRY // SECTOR
_END_OF_STREAM = bytes(SECTOR)
_HEADS, _TRACK_SECTORS, _MOST_CYLINDERS = 255, 63, 65535
# A grain that cannot be compressed, with its marker.
_LARGEST_GRAIN = GRAIN // SECTOR + 1
_MOST_SECTORS = 1 << 32


def check_vmdk(disk: Content) -> None:
    """Check that `disk` can be a VMDK.

    Raises InputError unless it is a whole number of sectors, UnsupportedError for a disk so large
    that its image may have more than 2 TiB.
    """
    sectors = sector_count(disk, "VMDK")
    if sectors > _MOST_SECTORS or largest_vmdk(disk) > _MOST_SECTORS * SECTOR:
        raise UnsupportedError(
            f"VMDK: a disk of {format_size(disk.size)} is too large", hint="use at most 2000 GiB"
        )


def largest_vmdk(disk: Content) -> int:
    """Return the most bytes that the image of `disk` can have."""
    touched = sum(extent.length // GRAIN + 2 for extent in disk.extents)
    layout = _Layout.of(disk)
    return (layout.end + min(touched, layout.grains) * _LARGEST_GRAIN + 1) * SECTOR


def write_vmdk(disk: Content, file: IO[bytes], *, jobs: int, progress: Advance) -> int:
    """Write `disk` as a VMDK at the position of `file`, and return the size in bytes.

    The position must have only zeros behind it. `jobs` threads compress; the bytes do not depend
    on their number. `progress` is called with the number of extent bytes since the last call.
    Raises like `check_vmdk` and `iterate_content`, and OSError.
    """
    check_vmdk(disk)
    layout = _Layout.of(disk)
    start = file.tell()
    file.seek(start + layout.end * SECTOR)
    writer = _GrainWriter(file, layout)
    first = 0
    with closing(packed_data(disk, compress_grains, threads=jobs)) as packed:
        for chunk in packed:
            writer.write(first, chunk.part or [])
            first += chunk.size // GRAIN
            progress(chunk.covered)
    file.write(_END_OF_STREAM)
    end = file.tell()
    file.seek(start)
    file.write(layout.header() + _descriptor(layout, writer.identity()) + layout.directory())
    file.seek(start + layout.tables * SECTOR)
    file.write(stored_numbers(writer.entries, "little"))
    file.seek(end)
    return end - start


@dataclass(frozen=True, slots=True)
class _Layout:
    """The parts before the grains, in sectors."""

    capacity: int
    grains: int
    table_count: int

    @classmethod
    def of(cls, disk: Content) -> _Layout:
        grains = -(-disk.size // GRAIN)
        return cls(disk.size // SECTOR, grains, -(-grains // _PER_TABLE))

    @property
    def directory_at(self) -> int:
        return _DESCRIPTOR_AT + _DESCRIPTOR

    @property
    def tables(self) -> int:
        return self.directory_at + align_up(self.table_count * _ENTRY, SECTOR) // SECTOR

    @property
    def end(self) -> int:
        return self.tables + self.table_count * _TABLE_SECTORS

    def header(self) -> bytes:
        return _HEADER.pack(
            b"KDMV", _VERSION, _FLAGS, self.capacity, GRAIN // SECTOR, _DESCRIPTOR_AT, _DESCRIPTOR,
            _PER_TABLE, 0, self.directory_at, self.end, 0, _LINE_ENDS, _DEFLATE,
        )  # fmt: skip

    def directory(self) -> bytes:
        return stored_numbers(array("I", range(self.tables, self.end, _TABLE_SECTORS)), "little")


class _GrainWriter:
    """Writes grains with their markers, and keeps the tables: the sector of each grain."""

    def __init__(self, file: IO[bytes], layout: _Layout) -> None:
        self._file = file
        self._sector = layout.end
        self._digest = hashlib.sha256()
        self.entries = array("I", bytes(layout.table_count * _PER_TABLE * _ENTRY))

    def write(self, first: int, grains: Iterable[Grain]) -> None:
        """Write grains, whose numbers count from grain `first` of the disk."""
        pieces = []
        for grain in grains:
            number = first + grain.number
            marker = _MARKER.pack(number * (GRAIN // SECTOR), len(grain.stream))
            length = len(marker) + len(grain.stream)
            pieces += [marker, grain.stream, bytes(-length % SECTOR)]
            self.entries[number] = self._sector
            self._sector += -(-length // SECTOR)
            # Place, length and Adler-32 of the data: enough to tell two disks apart.
            self._digest.update(marker + grain.stream[-4:])
        self._file.write(b"".join(pieces))

    def identity(self) -> str:
        """Return 128 bits that depend on the grains, in hexadecimal."""
        return self._digest.hexdigest()[:32]


def _descriptor(layout: _Layout, identity: str) -> bytes:
    """Return the descriptor; its content ids are derived from `identity`."""
    cylinders = min(-(-layout.capacity // (_HEADS * _TRACK_SECTORS)), _MOST_CYLINDERS)
    # 0xffffffff and 0xfffffffe have a meaning of their own.
    content_id = f"{int(identity[-8:], 16) & 0x7FFFFFFF:08x}"
    text = f"""# Disk DescriptorFile
version=1
encoding="UTF-8"
CID={content_id}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW {layout.capacity} SPARSE "disk"

# The Disk Data Base
#DDB

ddb.longContentID = "{identity[:-8]}{content_id}"
ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "{_HEADS}"
ddb.geometry.sectors = "{_TRACK_SECTORS}"
ddb.adapterType = "lsilogic"
ddb.toolsInstallType = "4"
ddb.toolsVersion = "2147483647"
"""
    return text.encode().ljust(_DESCRIPTOR * SECTOR, b"\0")
