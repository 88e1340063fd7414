"""Convert space that mkfs.xfs reserved to files, and remove the clock's time from inodes.

Structures are those of "XFS Algorithms & Data Structures", version 5 of the format
(https://docs.kernel.org/filesystems/xfs/): `xfs_dsb`, `xfs_agi`, the inode B+tree's
`xfs_inobt_rec` with sparse inodes, `xfs_dinode` with big timestamps, `xfs_bmbt_rec`. Numbers are
big-endian, except the checksums.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.formats.ext4.libext2fs import crc32c
from imager.formats.scratch_volume import BLOCK, BlockRun
from imager.support.errors import DependencyError, InputError

_INODE_SIZE = 512
_FEATURES = 208
# Compatible: none. Read-only compatible: free inode B+tree, reflink, inode B+tree counters.
# Incompatible: file types in folders, sparse inodes, big timestamps. Log: none.
_EXPECTED_FEATURES = (0, 0b1101, 0b1011, 0)
_AGI_SECTOR = 2
_AGI_MAGIC, _TREE_MAGIC, _INODE_MAGIC = b"XAGI", b"IAB3", b"IN"
_TREE_HEADER = 56
_RECORD = struct.Struct(">IHBBQ")
_INODES_PER_RECORD = 64
_INODES_PER_HOLE_BIT = 4

_MODE, _FORMAT, _USER, _SIZE, _EXTENT_COUNT = 2, 5, 8, 56, 76
_FLAGS, _GENERATION, _CHECKSUM, _FORK = 90, 92, 100, 176
_TIMES = (32, 40, 48, 144)
_FILE_TYPE, _REGULAR = 0o170000, 0o100000
_RESERVED_FLAG = 2
_EXTENTS = 2
_UNWRITTEN = 1 << 127
_NANOSECONDS = 10**9
_TIME_ORIGIN = 1 << 31


def fill_files(
    path: Path, sizes: Sequence[int], *, timestamp: int, sector_size: int
) -> list[tuple[BlockRun, ...]]:
    """Set the sizes of the files in the XFS volume `path`; return each file's runs of blocks.

    The file of `sizes[n]` bytes belongs to user n + 1 and has that much space reserved; afterwards
    it belongs to root. Every inode gets `timestamp`, seconds since 1970, for all of its times, and
    generation 0. Raises DependencyError if the volume does not have the expected structure,
    InputError if an allocation group has more inodes than one tree block covers, over 10,000.
    """
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        volume = _Volume.of(data, sector_size)
        runs: dict[int, tuple[BlockRun, ...]] = {}
        for offset in volume.inodes(data):
            inode = bytearray(data[offset : offset + _INODE_SIZE])
            _set_times(inode, timestamp)
            number = _number(inode, _USER, 4)
            if number:
                runs[number] = _fill(inode, sizes[number - 1], volume)
            _seal(inode)
            data[offset : offset + _INODE_SIZE] = inode
    if sorted(runs) != list(range(1, len(sizes) + 1)):
        raise _unexpected(f"{len(runs)} files, not {len(sizes)}")
    return [runs[number] for number in sorted(runs)]


def _unexpected(what: str) -> DependencyError:
    return DependencyError(
        f"mkfs.xfs made an unexpected volume: {what}",
        hint="use xfsprogs of Debian 12 or 13, and report this",
    )


def _number(data: bytes | bytearray | mmap.mmap, offset: int, length: int) -> int:
    return int.from_bytes(data[offset : offset + length], "big")


@dataclass(frozen=True, slots=True)
class _Volume:
    """Superblock data: sector size in bytes, allocation groups (AGs) in blocks."""

    sector_size: int
    group_blocks: int
    groups: int
    group_blocks_log: int

    @classmethod
    def of(cls, data: mmap.mmap, sector_size: int) -> _Volume:
        """Return the geometry of a volume; its features must be exactly the expected ones."""
        sizes = (_number(data, 4, 4), _number(data, 102, 2), _number(data, 104, 2))
        if data[:4] != b"XFSB" or sizes != (BLOCK, sector_size, _INODE_SIZE):
            raise _unexpected(f"blocks, sectors and inodes of {sizes} bytes")
        features = struct.unpack_from(">4L", data, _FEATURES)
        if features != _EXPECTED_FEATURES:
            raise _unexpected(f"features {features}, not {_EXPECTED_FEATURES}")
        return cls(sector_size, _number(data, 84, 4), _number(data, 88, 4), data[124])

    def inodes(self, data: mmap.mmap) -> Iterator[int]:
        """Yield the byte offset of each inode, including free ones."""
        for group in range(self.groups):
            start = group * self.group_blocks * BLOCK
            header = start + _AGI_SECTOR * self.sector_size
            root, level = struct.unpack_from(">LL", data, header + 20)
            tree = start + root * BLOCK
            if data[header : header + 4] != _AGI_MAGIC:
                raise _unexpected(f"no inodes in allocation group {group}")
            if level != 1 or data[tree : tree + 4] != _TREE_MAGIC:
                raise InputError("XFS: more than 10,000 files in a volume are not supported")
            for at in range(_number(data, tree + 6, 2)):
                record = _RECORD.unpack_from(data, tree + _TREE_HEADER + at * _RECORD.size)
                for number in _inodes_of(record[0], record[1]):
                    yield start + number * _INODE_SIZE

    def block(self, number: int) -> int:
        """Convert a block number, whose upper bits are the group, to an index in the volume."""
        group, within = number >> self.group_blocks_log, number & (1 << self.group_blocks_log) - 1
        return group * self.group_blocks + within


def _inodes_of(first: int, holes: int) -> Iterator[int]:
    """Yield the inodes of a record, by number in their group; a bit of `holes` is for four."""
    for index in range(_INODES_PER_RECORD):
        if not holes >> index // _INODES_PER_HOLE_BIT & 1:
            yield first + index


def _set_times(inode: bytearray, timestamp: int) -> None:
    if inode[:2] != _INODE_MAGIC:
        raise _unexpected("an inode tree that refers to other blocks")
    struct.pack_into(">L", inode, _GENERATION, 0)
    # Leave the times of free inodes alone.
    if _number(inode, _MODE, 2):
        for offset in _TIMES:
            time = (timestamp + _TIME_ORIGIN) * _NANOSECONDS
            struct.pack_into(">Q", inode, offset, time)


def _fill(inode: bytearray, size: int, volume: _Volume) -> tuple[BlockRun, ...]:
    """Convert an inode's reservation to a root-owned file; return its runs of blocks."""
    if _number(inode, _MODE, 2) & _FILE_TYPE != _REGULAR or inode[_FORMAT] != _EXTENTS:
        raise _unexpected("a file without a list of extents")
    count = _number(inode, _EXTENT_COUNT, 4)
    runs = tuple(_written_run(inode, _FORK + 16 * at, volume) for at in range(count))
    ends = [run.logical + run.count for run in runs]
    if [0, *ends] != [*(run.logical for run in runs), -(-size // BLOCK)]:
        raise _unexpected(f"extents {runs} of a file of {size} bytes")
    flags = _number(inode, _FLAGS, 2) & ~_RESERVED_FLAG
    struct.pack_into(">L", inode, _USER, 0)
    struct.pack_into(">Q", inode, _SIZE, size)
    struct.pack_into(">H", inode, _FLAGS, flags)
    return runs


def _written_run(inode: bytearray, offset: int, volume: _Volume) -> BlockRun:
    """Mark an extent as written; its fields: 1 flag bit, first block, location, count."""
    extent = _number(inode, offset, 16) & ~_UNWRITTEN
    inode[offset : offset + 16] = extent.to_bytes(16, "big")
    logical, physical, count = extent >> 73, extent >> 21 & (1 << 52) - 1, extent & (1 << 21) - 1
    return BlockRun(volume.block(physical), logical, count)


def _seal(inode: bytearray) -> None:
    """Update the checksum: little-endian CRC-32C, computed with its own field as zeros."""
    struct.pack_into("<L", inode, _CHECKSUM, 0)
    struct.pack_into("<L", inode, _CHECKSUM, crc32c(bytes(inode)) ^ 0xFFFFFFFF)
