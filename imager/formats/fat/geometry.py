"""The boot sector of a FAT volume: where its parts are.

Follows Microsoft's "FAT32 File System Specification" (fatgen103).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from imager.formats.fat.tables import FIRST_CLUSTER
from imager.formats.volume_reader import (
    DamagedError,
    OpenedVolume,
)
from imager.support.errors import UnsupportedError

_SECTOR_SIZES = (512, 1024, 2048, 4096)
_CLUSTER_SECTORS = frozenset(1 << shift for shift in range(8))
_BOOT_SECTOR = struct.Struct("<11xHBHBHHBH8xLLHHL")
RECORD = struct.Struct("<11sBB7xH4xHL")
_LARGEST_TABLE = 128 << 20
_LEAST_CLUSTERS_16 = 4085
_NO_MIRROR, _ACTIVE_TABLE = 0x80, 0x0F


def is_fat(head: bytes) -> bool:
    """Return whether a volume that starts with `head`, at least 512 bytes, is FAT."""
    if len(head) < 512 or head[510:512] != b"\x55\xaa" or head[0] not in (0xE9, 0xEB):
        return False
    sector, per_cluster, reserved, tables, *_ = _BOOT_SECTOR.unpack_from(head)
    sizes_fit = sector in _SECTOR_SIZES and per_cluster in _CLUSTER_SECTORS
    return sizes_fit and bool(reserved) and tables in (1, 2) and head[21] >= 0xF0


@dataclass(frozen=True, slots=True)
class Geometry:
    """The locations of the parts of a volume, in bytes; table entries have `bits` bits.

    `root` is the root's cluster in FAT32, otherwise 0: then its `root_size` bytes precede the
    data. `copies` are the offsets of the tables that must equal the one at `table`.
    """

    bits: int
    table: int
    copies: tuple[int, ...]
    clusters: int
    cluster_size: int
    data: int
    root: int
    root_size: int

    @classmethod
    def read(cls, volume: OpenedVolume) -> Geometry:
        """Read it; raises DamagedError, or UnsupportedError for a volume that is too large."""
        head = volume.read(0, 512)
        if not is_fat(head):
            raise DamagedError("it has no boot sector")
        sector, per_cluster, reserved, tables, root_records, *rest = _BOOT_SECTOR.unpack(head[:48])
        sectors_16, _, table_16, sectors_32, table_32, flags, _, root = rest
        sectors, table_sectors = sectors_16 or sectors_32, table_16 or table_32
        root_size = root_records * RECORD.size
        data = (reserved + tables * table_sectors) * sector + root_size
        if sectors * sector > volume.size:
            raise DamagedError("it is truncated, or larger than its partition")
        if data % sector or data > sectors * sector:
            raise DamagedError("the boot sector contains invalid sizes")
        cluster_size = per_cluster * sector
        clusters = (sectors * sector - data) // cluster_size
        # The same criteria as in Linux.
        bits = 32 if not table_16 else 16 if clusters >= _LEAST_CLUSTERS_16 else 12
        no_mirror = bits == 32 and bool(flags & _NO_MIRROR)
        active = flags & _ACTIVE_TABLE if no_mirror else 0
        starts = [(reserved + number * table_sectors) * sector for number in range(tables)]
        table = (reserved + active * table_sectors) * sector
        copies = () if no_mirror else tuple(starts[1:])
        root = root if bits == 32 else 0
        found = cls(bits, table, copies, clusters, cluster_size, data, root, root_size)
        if active >= tables or found.table_size > table_sectors * sector:
            raise DamagedError("the allocation table does not cover all clusters")
        if found.table_size > _LARGEST_TABLE:
            raise UnsupportedError(
                f"{volume.name}: the FAT file system has too many clusters: {clusters}",
                hint="format it with larger clusters",
            )
        return found

    @property
    def table_size(self) -> int:
        """The size in bytes of the used part of the allocation table."""
        return -(-(self.clusters + FIRST_CLUSTER) * self.bits // 8)

    @property
    def numbers(self) -> int:
        """The mask of the cluster number in a table entry."""
        return (1 << min(self.bits, 28)) - 1

    def offset(self, cluster: int) -> int:
        """Return the offset of a cluster in bytes."""
        return self.data + (cluster - FIRST_CLUSTER) * self.cluster_size
