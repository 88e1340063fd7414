"""The fixed structures of a FAT32 volume: geometry, boot sector, FSInfo, allocation table.

Follows Microsoft's "FAT32 File System Specification" (fatgen103), sections "Boot Sector and BPB
Structure", "FAT Data Structure" and "FAT32 FSInfo Sector Structure".
"""

from __future__ import annotations

import itertools
import math
import struct
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from imager.units import align_up

# The specification makes 65,525 clusters the least of FAT32 and tells to stay clear of the limit,
# as many readers are off by a few.
LEAST_CLUSTERS = 65_525 + 64
# With clusters of 4 KiB more would exceed the 28 bits of a cluster number.
LARGEST_SIZE = 1 << 40
FIRST_CLUSTER = 2
FSINFO_SECTOR = 1
BACKUP_SECTOR = 6
RESERVED_SECTORS = 32
ALIGNMENT = 4096

_ENTRY_SIZE = 4
_END_OF_CHAIN = 0x0FFF_FFFF
_MEDIA = 0xF8
_UNKNOWN = 0xFFFF_FFFF
_SIGNATURE = b"\x55\xaa"
_HEADS = 64
_SECTORS_PER_TRACK = 32
# int 18h hands over to the BIOS's next boot device; should that return: hlt, forever.
_BOOT_CODE = bytes.fromhex("cd18f4ebfd")


@dataclass(frozen=True, slots=True)
class Run:
    """`count` clusters in a row, from cluster number `first` on."""

    first: int
    count: int

    @property
    def end(self) -> int:
        """The cluster after the last one."""
        return self.first + self.count


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the parts of a volume lie; sizes and offsets in bytes, from the volume's start."""

    size: int
    sector_size: int
    cluster_size: int
    fat_size: int
    clusters: int

    @classmethod
    def of(cls, size: int, *, sector_size: int, cluster_size: int) -> Geometry:
        """Return the geometry of a volume of `size` bytes; it may have too few clusters.

        The data area starts at a multiple of 4096 bytes.
        """
        room = max(size - RESERVED_SECTORS * sector_size, 0)
        most = max(room - 4 * _ENTRY_SIZE, 0) // (cluster_size + 2 * _ENTRY_SIZE)
        unit = max(sector_size, ALIGNMENT // 2)
        fat_size = align_up((most + FIRST_CLUSTER) * _ENTRY_SIZE, unit)
        clusters = min(most, max(room - 2 * fat_size, 0) // cluster_size)
        return cls(size, sector_size, cluster_size, fat_size, clusters)

    @classmethod
    def holding(cls, clusters: int, *, sector_size: int, cluster_size: int) -> Geometry:
        """Return the geometry of the smallest volume, in steps of 4096 bytes, with `clusters`."""
        tables = 2 * _ENTRY_SIZE * (clusters + FIRST_CLUSTER)
        size = RESERVED_SECTORS * sector_size + tables + clusters * cluster_size
        sizes = itertools.count(align_up(size, ALIGNMENT), ALIGNMENT)
        tried = (cls.of(size, sector_size=sector_size, cluster_size=cluster_size) for size in sizes)
        return next(geometry for geometry in tried if geometry.clusters >= clusters)

    @property
    def fat_offsets(self) -> tuple[int, int]:
        """Where the two allocation tables start."""
        first = RESERVED_SECTORS * self.sector_size
        return first, first + self.fat_size

    def offset_of(self, cluster: int) -> int:
        """Return where the data of cluster number `cluster` starts."""
        data_start = RESERVED_SECTORS * self.sector_size + 2 * self.fat_size
        return data_start + (cluster - FIRST_CLUSTER) * self.cluster_size


def boot_sector(
    geometry: Geometry, *, label: bytes, volume_id: int, hidden_sectors: int, root_cluster: int
) -> bytes:
    """Return the 512 bytes of the boot sector (BPB); `label` is the 11 bytes of the root's entry.

    The sectors of a track divide the volume: mtools takes another value for a damaged volume.
    """
    sectors = geometry.size // geometry.sector_size
    head = struct.pack(
        "<3s8sHBHBHHBHHHLL",
        b"\xeb\x58\x90",
        b"MSWIN4.1",
        geometry.sector_size,
        geometry.cluster_size // geometry.sector_size,
        RESERVED_SECTORS,
        2,
        0,
        0,
        _MEDIA,
        0,
        math.gcd(sectors, _SECTORS_PER_TRACK),
        _HEADS,
        hidden_sectors,
        sectors,
    )
    fat32 = struct.pack(
        "<LHHLHH12xBBBL11s8s",
        geometry.fat_size // geometry.sector_size,
        0,
        0,
        root_cluster,
        FSINFO_SECTOR,
        BACKUP_SECTOR,
        0x80,
        0,
        0x29,
        volume_id,
        label,
        b"FAT32   ",
    )
    return (head + fat32 + _BOOT_CODE).ljust(510, b"\0") + _SIGNATURE


def fs_info(geometry: Geometry, *, used: int, end: int) -> bytes:
    """Return the 512 bytes of FSInfo: `used` clusters taken, none of them from `end` on."""
    following = end if end < geometry.clusters + FIRST_CLUSTER else _UNKNOWN
    free = geometry.clusters - used
    return struct.pack("<4s480x4sLL12x2x2s", b"RRaA", b"rrAa", free, following, _SIGNATURE)


def allocation_table(runs: Iterable[Run], *, end: int) -> bytes:
    """Return the table's entries below cluster number `end`, each run being one chain.

    The first two entries hold the media byte and the bits of a clean, error-free volume.
    """
    entries = array("I", bytes(end * _ENTRY_SIZE))
    entries[:FIRST_CLUSTER] = array("I", [0x0FFF_FF00 | _MEDIA, _END_OF_CHAIN])
    for run in runs:
        entries[run.first : run.end - 1] = array("I", range(run.first + 1, run.end))
        entries[run.end - 1] = _END_OF_CHAIN
    if sys.byteorder == "big":
        entries.byteswap()
    return entries.tobytes()
