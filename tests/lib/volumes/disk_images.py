"""Sparse disks for tests of disk formats, and plain readers of those formats.

The readers follow the specifications alone and know nothing of how the images are made.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from imager.content.extents import Codec, Content, Data, Extent, FileRange, Source, StreamRange

SECTOR = 512
_SOURCE_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class SparseDisk:
    """A disk, and the bytes that it must have."""

    content: Content
    data: bytes


@dataclass(frozen=True, slots=True)
class Sources:
    """The same bytes in memory, in a file and in a gzip stream."""

    data: bytes
    path: Path
    stream: Path

    @classmethod
    def make(cls, folder: Path) -> Sources:
        """Write them into `folder`: noise, text, and zeros, in pieces."""
        noise = hashlib.shake_128(b"disk").digest(_SOURCE_SIZE // 4)
        text = b"".join(b"line %d\n" % number for number in range(40_000))[: _SOURCE_SIZE // 4]
        data = (noise + bytes(_SOURCE_SIZE // 4) + text + noise)[:_SOURCE_SIZE]
        path, stream = folder / "source", folder / "source.gz"
        path.write_bytes(data)
        packer = zlib.compressobj(1, wbits=31)
        stream.write_bytes(packer.compress(data) + packer.flush())
        return cls(data, path, stream)

    def extent(self, kind: str, offset: int, start: int, length: int) -> Extent:
        """Return an extent of `length` bytes from byte `start` of the source `kind`."""
        sources: dict[str, Source] = {
            "memory": Data(self.data, start),
            "file": FileRange(self.path, start),
            "stream": StreamRange(self.stream, Codec.GZIP, start),
        }
        return Extent(offset, length, sources[kind])


@st.composite
def sparse_disks(draw: st.DrawFn, sources: Sources, *, largest_gap: int = 300_000) -> SparseDisk:
    """Draw a disk of a few extents of any kind at any place, with and without holes between."""
    piece = st.tuples(
        st.one_of(st.just(0), st.integers(1, 4 * SECTOR), st.integers(1, largest_gap)),
        st.sampled_from(["memory", "file", "stream"]),
        st.integers(0, len(sources.data) - 1),
        st.one_of(st.integers(1, 3 * SECTOR), st.integers(1, 150_000)),
    )
    extents: list[Extent] = []
    data = bytearray()
    for gap, kind, start, wanted in draw(st.lists(piece, max_size=6)):
        data += bytes(gap)
        length = min(wanted, len(sources.data) - start)
        extents.append(sources.extent(kind, len(data), start, length))
        data += sources.data[start : start + length]
    data += bytes(draw(st.one_of(st.just(0), st.integers(1, largest_gap))))
    data += bytes(-len(data) % SECTOR or (0 if data else SECTOR))
    return SparseDisk(Content(len(data), tuple(extents)), bytes(data))


def qcow2_clusters(image: bytes) -> dict[int, int]:
    """Return the byte of the image at which each allocated cluster of the disk is."""
    bits, size, _, entries, table = struct.unpack_from(">IQIIQ", image, 20)
    cluster = 1 << bits
    assert entries == -(-size // (cluster * (cluster // 8)))
    places = {}
    for number, entry in enumerate(struct.unpack_from(f">{entries}Q", image, table)):
        if entry:
            assert entry >> 63 and entry % cluster == 0
            at = entry & ~(1 << 63)
            for index, found in enumerate(struct.unpack_from(f">{cluster // 8}Q", image, at)):
                if found:
                    assert found >> 63 and found % cluster == 0
                    places[number * (cluster // 8) + index] = found & ~(1 << 63)
    return places


def read_qcow2(image: bytes) -> bytes:
    """Return the disk in a qcow2 image (QEMU, docs/interop/qcow2.txt) without backing file."""
    cluster = 1 << int.from_bytes(image[20:24], "big")
    size = int.from_bytes(image[24:32], "big")
    disk = bytearray(-(-size // cluster) * cluster)
    for number, place in qcow2_clusters(image).items():
        assert len(image) >= place + cluster
        disk[number * cluster : (number + 1) * cluster] = image[place : place + cluster]
    return bytes(disk[:size])


@dataclass(frozen=True, slots=True)
class VmdkGrain:
    """A compressed grain: its first sector on the disk, its place, and its stream."""

    lba: int
    sector: int
    stream: bytes


def vmdk_grains(image: bytes) -> Iterator[VmdkGrain]:
    """Yield the grains of a stream-optimized VMDK in the order in which they stand.

    They are read as a stream, by their markers, up to the end of stream.
    """
    sector = int.from_bytes(image[64:72], "little")  # overHead
    while True:
        lba, size = struct.unpack_from("<QI", image, sector * SECTOR)
        if not size:
            assert not any(image[sector * SECTOR :]) and len(image) == (sector + 1) * SECTOR
            return
        start = sector * SECTOR + 12
        yield VmdkGrain(lba, sector, image[start : start + size])
        end = start + size
        sector = -(-end // SECTOR)
        assert not any(image[end : sector * SECTOR])


def vmdk_entries(image: bytes) -> dict[int, int]:
    """Return the sector of each grain that the tables name, by its number."""
    capacity, grain = struct.unpack_from("<QQ", image, 12)
    per_table, _, directory = struct.unpack_from("<IQQ", image, 44)
    grains = -(-capacity // grain)
    found = {}
    for table in range(-(-grains // per_table)):
        (at,) = struct.unpack_from("<I", image, directory * SECTOR + 4 * table)
        for index, sector in enumerate(struct.unpack_from(f"<{per_table}I", image, at * SECTOR)):
            if sector:
                found[table * per_table + index] = sector
    return found


def read_vmdk(image: bytes) -> bytes:
    """Return the disk in a stream-optimized VMDK (VMware, Virtual Disk Format 5.0)."""
    capacity, grain = struct.unpack_from("<QQ", image, 12)
    disk = bytearray(-(-capacity // grain) * grain * SECTOR)
    for each in vmdk_grains(image):
        data = zlib.decompress(each.stream)
        assert len(data) == grain * SECTOR
        disk[each.lba * SECTOR : (each.lba + grain) * SECTOR] = data
    return bytes(disk[: capacity * SECTOR])
