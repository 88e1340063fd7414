"""Read qcow2 disk images: the raw disk as parts of the file.

Specification: QEMU, docs/interop/qcow2.txt, versions 2 and 3. Images with a backing file, an
external data file, encryption or extended L2 entries are refused. Snapshots are ignored.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from imager.content.extents import Codec, Content
from imager.content.random_access import ContentReader
from imager.formats.errors import DamagedVolumeError
from imager.formats.numbers import read_numbers
from imager.formats.packed_parts import disk_of
from imager.formats.runs import Run
from imager.support.errors import UnsupportedError

_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_VERSION_3_SIZE = 104
_DIRTY, _CORRUPT, _KNOWN = 1, 2, 1 | 2 | 8
_LARGEST_L1 = 32 << 20
_COMPRESSED = 1 << 62
_PLACE = (1 << 56) - 512
_ZERO = 1
# The most entries in use, and tables, that are read: 64 TiB with the usual cluster size is more.
_MOST_CLUSTERS = 1 << 22
_MOST_TABLES = 1 << 16


def is_qcow2(head: bytes) -> bool:
    """Return whether a file that starts with `head` is a qcow2 image."""
    return head.startswith(_MAGIC)


@dataclass(frozen=True, slots=True)
class _Header:
    cluster_bits: int
    size: int
    l1_entries: int
    l1: int
    codec: Codec

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits

    @classmethod
    def parse(cls, head: bytes, name: str) -> _Header:
        magic, version, backing, _, bits, size, crypt, entries, l1, *_ = _HEADER.unpack_from(head)
        if magic != _MAGIC or version not in (2, 3) or not 9 <= bits <= 21:
            raise DamagedVolumeError(f"{name}: the qcow2 header is damaged")
        features = int.from_bytes(head[72:80], "big") if version == 3 else 0
        for is_used, what in (
            (backing, "a backing file"),
            (crypt, "encryption"),
            (features & 4, "an external data file"),
            (features & ~_KNOWN & ~4, "unknown features"),
        ):
            if is_used:
                raise UnsupportedError(
                    f"{name}: a qcow2 image with {what} is not supported",
                    hint="convert it first: `qemu-img convert -O qcow2 OLD NEW`",
                )
        header_size = int.from_bytes(head[100:104], "big") if version == 3 else 72
        kind = head[104] if features & 8 and header_size > _VERSION_3_SIZE else 0
        if kind > 1:
            raise UnsupportedError(f"{name}: qcow2 compression type {kind} is not supported")
        return cls(bits, size, entries, l1, Codec.ZSTD if kind else Codec.DEFLATE)


def open_qcow2(image: Content, *, name: str = "the image") -> Content:
    """Return the disk in a qcow2 image; `name` is for messages.

    Raises DamagedVolumeError, and UnsupportedError for an image that needs other files, or more
    than 4 million clusters.
    """
    with ContentReader(image) as reader:
        head = reader.read(0, 512)
        if len(head) < 112:
            raise DamagedVolumeError(f"{name}: the qcow2 image is cut off")
        header = _Header.parse(head, name)
        per_table = header.cluster // 8
        needed = -(-header.size // (header.cluster * per_table))
        if header.l1_entries < needed or header.l1_entries * 8 > _LARGEST_L1:
            raise DamagedVolumeError(f"{name}: the qcow2 image has an L1 table of a wrong size")
        l1 = read_numbers(reader.read(header.l1, needed * 8), "Q", "big")
        if len(l1) < needed:
            raise DamagedVolumeError(f"{name}: the qcow2 image ends inside of its L1 table")
        parts = _parts(reader, header, l1, name)
        return disk_of(image, header.size, parts, name=f"{name}: the qcow2 image")


def _parts(reader: ContentReader, header: _Header, l1: array[int], name: str) -> Iterator[Run]:
    used = tables = 0
    per_table = header.cluster // 8
    for number, entry in enumerate(l1):
        place = entry & _PLACE
        if not place:
            continue
        tables += 1
        raw = reader.read(place, header.cluster)
        if len(raw) < header.cluster:
            raise DamagedVolumeError(f"{name}: the qcow2 image ends inside of an L2 table")
        entries = read_numbers(raw, "Q", "big")
        used += per_table - entries.count(0)
        if used > _MOST_CLUSTERS or tables > _MOST_TABLES:
            raise UnsupportedError(f"{name}: the qcow2 image has too many clusters")
        yield from _table_parts(entries, header, number * per_table)


def _table_parts(l2: array[int], header: _Header, first: int) -> Iterator[Run]:
    """Yield the parts of the disk that one L2 table places."""
    size = header.cluster
    shift = 62 - (header.cluster_bits - 8)
    for index, entry in enumerate(l2):
        if not entry:
            continue
        offset = (first + index) * size
        if entry & _COMPRESSED:
            place = entry & (1 << shift) - 1
            sectors = (entry & _COMPRESSED - 1) >> shift
            length = (sectors + 1) * 512 - place % 512
            yield Run(offset, place, size, length, header.codec)
        elif not entry & _ZERO and entry & _PLACE:
            yield Run(offset, entry & _PLACE, size)
