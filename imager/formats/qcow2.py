"""qcow2 disk images as a view of a raw disk: metadata, then the clusters that are not empty.

Specification: QEMU, docs/interop/qcow2.txt. Version 3, without compression, snapshots, backing
file and encryption; reference counts have 16 bits and are all 1. The file consists of clusters:

    header | refcount table | refcount blocks | L1 table | L2 tables | data, in the disk's order

A cluster of the disk without an extent is not allocated, nor is one whose extents are in memory and
contain zeros alone. The bytes of files are not read: a cluster with a part of a file is allocated.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imager.content.extents import Content, Data, Extent
from imager.content.ranges import merged
from imager.formats.numbers import stored_numbers
from imager.formats.sectors import sector_count
from imager.support.errors import InputError, UnsupportedError
from imager.support.units import MIB, format_size

DEFAULT_CLUSTER = 65536
_CLUSTERS = tuple(1 << bits for bits in range(9, 22))
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII8x")
_EXTENSION = struct.Struct(">II")
_FEATURE_NAMES = 0x6803F857
# (kind, bit, name): kind 0 is incompatible, 1 compatible, 2 autoclear.
_FEATURES = (
    (0, 0, "dirty bit"),
    (0, 1, "corrupt bit"),
    (0, 2, "external data file"),
    (0, 3, "compression type"),
    (0, 4, "extended L2 entries"),
    (1, 0, "lazy refcounts"),
    (2, 0, "bitmaps"),
    (2, 1, "raw external data"),
)
_ENTRY = 8
_REFCOUNT = struct.pack(">H", 1)
_REFCOUNT_ORDER = 4
# Bit 63 of an entry in L1 and L2: the cluster's reference count is exactly 1.
_COPIED = 1 << 63
# The largest tables that QEMU opens.
_LARGEST_L1 = 32 * MIB
_LARGEST_REFCOUNTS = 8 * MIB


def plan_qcow2(disk: Content, *, cluster_size: int = DEFAULT_CLUSTER) -> Content:
    """Return `disk` as a qcow2 image; its data are the extents of `disk`, moved.

    Raises InputError unless `cluster_size` is a power of two from 512 bytes to 2 MiB and the disk
    is a whole number of sectors; UnsupportedError for a disk too large for the cluster size.
    """
    if cluster_size not in _CLUSTERS:
        raise InputError(
            f"qcow2: cluster_size={cluster_size} is not a power of two from 512 to 2097152",
            hint="use cluster_size=65536",
        )
    sector_count(disk, "qcow2")
    used = merged(
        clusters for extent in disk.extents for clusters in _used_clusters(extent, cluster_size)
    )
    layout = _Layout.of(disk.size, used, cluster_size)
    data = _moved(disk.extents, used, cluster_size, layout.data)
    return Content(layout.size, (*layout.metadata(), *data))


def _used_clusters(extent: Extent, cluster: int) -> Iterator[range]:
    """Yield the clusters with bytes of the extent; zeros in memory do not count."""
    numbers = range(extent.offset // cluster, _quotient_up(extent.end, cluster))
    if not isinstance(extent.source, Data):
        yield numbers
        return
    zeros = bytes(cluster)
    data, distance = extent.source.data, extent.source.offset - extent.offset
    for number in numbers:
        start = max(number * cluster, extent.offset)
        end = min((number + 1) * cluster, extent.end)
        # Compares in place, which a slice does not.
        if not data.startswith(zeros[: end - start], start + distance, end + distance):
            yield range(number, number + 1)


def _moved(
    extents: Sequence[Extent], used: Iterable[range], cluster: int, position: int
) -> Iterator[Extent]:
    """Yield what the `used` clusters contain, one cluster after the other from `position` on."""
    index = 0
    for clusters in used:
        start, end = clusters.start * cluster, clusters.stop * cluster
        while extents[index].end <= start:
            index += 1
        for extent in _between(extents, index, end):
            yield extent.clipped(start, end).shifted(position - start)
        position += end - start


def _between(extents: Sequence[Extent], index: int, end: int) -> Iterator[Extent]:
    """Yield the extents from `index` on that begin before byte `end`."""
    while index < len(extents) and extents[index].offset < end:
        yield extents[index]
        index += 1


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where everything is in the file, in bytes; see the module.

    `tables` are the L2 tables that exist, by the number of their entry in L1.
    """

    disk_size: int
    cluster: int
    used: Sequence[range]
    tables: Sequence[range]
    clusters: int
    refcount_table: int
    refcount_blocks: int
    l1: int
    l2: int
    data: int

    @classmethod
    def of(cls, disk_size: int, used: Sequence[range], cluster: int) -> _Layout:
        """Return the layout of a disk whose `used` clusters are allocated."""
        per_table = cluster // _ENTRY
        tables = merged(
            range(span.start // per_table, _quotient_up(span.stop, per_table)) for span in used
        )
        l1_size = _quotient_up(disk_size, cluster * per_table) * _ENTRY
        l1, l2, data = _quotient_up(l1_size, cluster), _length(tables), _length(used)
        table, blocks = _refcount_clusters(1 + l1 + l2 + data, cluster)
        _check_tables(disk_size, cluster, l1_size, table * cluster)
        ends = [cluster]
        for count in (table, blocks, l1, l2):
            ends.append(ends[-1] + count * cluster)
        total = 1 + table + blocks + l1 + l2 + data
        return cls(disk_size, cluster, used, tables, total, *ends)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self.clusters * self.cluster

    def metadata(self) -> Iterator[Extent]:
        """Yield everything before the data."""
        blocks = range(self.refcount_blocks, self.l1, self.cluster)
        l1, l2 = self._tables()
        pieces = (
            (0, self._header(len(l1))),
            (self.refcount_table, stored_numbers(array("Q", blocks), "big")),
            (self.refcount_blocks, _REFCOUNT * self.clusters),
            (self.l1, stored_numbers(l1, "big")),
            (self.l2, stored_numbers(l2, "big")),
        )
        for offset, data in pieces:
            if data:
                yield Extent(offset, len(data), Data(data))

    def _header(self, l1_entries: int) -> bytes:
        header = _HEADER.pack(
            b"QFI\xfb", 3, *(0, 0), self.cluster.bit_length() - 1, self.disk_size, 0,
            l1_entries, self.l1, self.refcount_table,
            (self.refcount_blocks - self.refcount_table) // self.cluster,
            *(0, 0), *(0, 0, 0), _REFCOUNT_ORDER, _HEADER.size,
        )  # fmt: skip
        names = b"".join(
            bytes((kind, bit)) + name.encode().ljust(46, b"\0") for kind, bit, name in _FEATURES
        )
        return header + _EXTENSION.pack(_FEATURE_NAMES, len(names)) + names + _EXTENSION.pack(0, 0)

    def _tables(self) -> tuple[array[int], array[int]]:
        """Return the entries of L1, and those of all L2 tables one after the other."""
        per_table = self.cluster // _ENTRY
        l1 = _empty(_quotient_up(self.disk_size, self.cluster * per_table))
        l2 = _empty(_length(self.tables) * per_table)
        tables = iter(self.tables)
        span = range(0)
        before, table, data = 0, self.l2, self.data
        for clusters in self.used:
            if clusters.start >= span.stop * per_table:
                before += len(span)
                span = next(tables)
                l1[span.start : span.stop] = self._entries(table, len(span))
                table += len(span) * self.cluster
            at = (before - span.start) * per_table + clusters.start
            l2[at : at + len(clusters)] = self._entries(data, len(clusters))
            data += len(clusters) * self.cluster
        return l1, l2

    def _entries(self, start: int, count: int) -> array[int]:
        """Return the entries of `count` clusters from byte `start` of the file on."""
        first = _COPIED | start
        return array("Q", range(first, first + count * self.cluster, self.cluster))


def _refcount_clusters(others: int, cluster: int) -> tuple[int, int]:
    """Return how many clusters table and blocks of reference counts need for `others` and both."""
    table = blocks = 0
    while True:
        needed = _quotient_up((others + table + blocks) * len(_REFCOUNT), cluster)
        if needed == blocks:
            return table, blocks
        blocks = needed
        table = _quotient_up(blocks * _ENTRY, cluster)


def _check_tables(disk_size: int, cluster: int, l1_size: int, refcounts: int) -> None:
    if l1_size > _LARGEST_L1 or refcounts > _LARGEST_REFCOUNTS:
        raise UnsupportedError(
            f"qcow2: a disk of {format_size(disk_size)} is too large for cluster_size={cluster}",
            hint=f"use cluster_size={DEFAULT_CLUSTER}",
        )


def _empty(count: int) -> array[int]:
    return array("Q", bytes(count * _ENTRY))


def _length(spans: Iterable[range]) -> int:
    return sum(map(len, spans))


def _quotient_up(number: int, divisor: int) -> int:
    return -(-number // divisor)
