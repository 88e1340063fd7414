"""The fixed structures of a FAT32 volume: geometry, boot sector, FSInfo, allocation table.

Follows Microsoft's "FAT32 File System Specification" (fatgen103), sections "Boot Sector and BPB
Structure", "FAT Data Structure" and "FAT32 FSInfo Sector Structure". pyfatfs's objects serialize
the structures; their fields have the names of the specification.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from imager.formats.numbers import stored_numbers
from imager.support.units import align_up

# The specification's minimum for FAT32 is 65,525 clusters; it recommends a margin, because many
# readers are off by a few.
LEAST_CLUSTERS = 65_525 + 64
# With 4 KiB clusters, larger volumes would exceed the 28 bits of a cluster number.
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
# int 18h starts the BIOS's next boot device; if it returns: hlt in a loop.
_BOOT_CODE = bytes.fromhex("cd18f4ebfd")


@dataclass(frozen=True, slots=True)
class ClusterRun:
    """`count` consecutive clusters, starting at cluster number `first`."""

    first: int
    count: int

    @property
    def end(self) -> int:
        """The end cluster, exclusive."""
        return self.first + self.count


@dataclass(frozen=True, slots=True)
class Geometry:
    """The locations of the parts of a volume; sizes and offsets in bytes from its start."""

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
        """Return the geometry of the smallest volume with `clusters`, in steps of 4096 bytes."""
        tables = 2 * _ENTRY_SIZE * (clusters + FIRST_CLUSTER)
        size = RESERVED_SECTORS * sector_size + tables + clusters * cluster_size
        sizes = itertools.count(align_up(size, ALIGNMENT), ALIGNMENT)
        tried = (cls.of(size, sector_size=sector_size, cluster_size=cluster_size) for size in sizes)
        return next(geometry for geometry in tried if geometry.clusters >= clusters)

    @property
    def fat_offsets(self) -> tuple[int, int]:
        """The offsets of the two allocation tables."""
        first = RESERVED_SECTORS * self.sector_size
        return first, first + self.fat_size

    def offset_of(self, cluster: int) -> int:
        """Return the data offset of cluster number `cluster`."""
        data_start = RESERVED_SECTORS * self.sector_size + 2 * self.fat_size
        return data_start + (cluster - FIRST_CLUSTER) * self.cluster_size


def boot_sector(
    geometry: Geometry, *, label: bytes, volume_id: int, hidden_sectors: int, root_cluster: int
) -> bytes:
    """Return the 512-byte boot sector (BPB); `label` is the 11 bytes of the root's entry.

    The volume is a multiple of the sectors per track: mtools treats other values as damage.
    """
    from pyfatfs.BootSectorHeader import FAT32BootSectorHeader

    sectors = geometry.size // geometry.sector_size
    header = FAT32BootSectorHeader()
    header.update(
        BS_jmpBoot=b"\xeb\x58\x90",
        BS_OEMName=b"MSWIN4.1",
        BPB_BytsPerSec=geometry.sector_size,
        BPB_SecPerClus=geometry.cluster_size // geometry.sector_size,
        BPB_RsvdSecCnt=RESERVED_SECTORS,
        BPB_NumFATs=2,
        BPB_RootEntCnt=0,
        BPB_TotSec16=0,
        BPB_Media=_MEDIA,
        BPB_FATSz16=0,
        BPB_SecPerTrk=math.gcd(sectors, _SECTORS_PER_TRACK),
        BPB_NumHeads=_HEADS,
        BPB_HiddSec=hidden_sectors,
        BPB_TotSec32=sectors,
        BPB_FATSz32=geometry.fat_size // geometry.sector_size,
        BPB_ExtFlags=0,
        BPB_FSVer=0,
        BPB_RootClus=root_cluster,
        BPB_FSInfo=FSINFO_SECTOR,
        BPB_BkBootSec=BACKUP_SECTOR,
        BPB_Reserved=b"",
        BS_DrvNum=0x80,
        BS_Reserved1=0,
        BS_BootSig=0x29,
        BS_VolID=volume_id,
        BS_VolLab=label,
        BS_FilSysType=b"FAT32   ",
    )
    return (bytes(header) + _BOOT_CODE).ljust(510, b"\0") + _SIGNATURE


def fs_info(geometry: Geometry, *, used: int, end: int) -> bytes:
    """Return the 512-byte FSInfo: `used` clusters are allocated, all of them below `end`."""
    from pyfatfs.FSInfo import FSInfo

    following = end if end < geometry.clusters + FIRST_CLUSTER else _UNKNOWN
    return bytes(FSInfo(free_count=geometry.clusters - used, next_free=following))


def allocation_table(runs: Iterable[ClusterRun], *, end: int) -> bytes:
    """Return the table entries below cluster number `end`; each run is one chain.

    The first two entries hold the media byte and the flags of a clean, error-free volume.
    """
    entries = array("I", bytes(end * _ENTRY_SIZE))
    entries[:FIRST_CLUSTER] = array("I", [0x0FFF_FF00 | _MEDIA, _END_OF_CHAIN])
    for run in runs:
        entries[run.first : run.end - 1] = array("I", range(run.first + 1, run.end))
        entries[run.end - 1] = _END_OF_CHAIN
    return stored_numbers(entries, "little")
