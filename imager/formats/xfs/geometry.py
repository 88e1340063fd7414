"""The superblock of an XFS volume, of version 4 or 5: sizes, places, checksums.

Follows Linux, fs/xfs/libxfs/xfs_format.h. All numbers are big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass

from imager.formats.ext4.libext2fs import crc32c
from imager.formats.volume_reader import (
    DamagedError,
    OpenedVolume,
)
from imager.support.errors import UnsupportedError

_MAGIC = b"XFSB"
_VERSION_5 = 5
_FTYPE_4, _FTYPE_5 = 0x200, 0x1
# Known: file types in folders, sparse inode chunks, a separate UUID for metadata, times after 2038,
# repair needed, many extents.
_KNOWN_INCOMPATIBLE = 0x3F


def is_xfs(head: bytes) -> bool:
    """Return whether a volume that starts with `head` is XFS."""
    return head.startswith(_MAGIC)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The superblock; sizes in bytes, and numbers of bits."""

    block: int
    blocks: int
    root: int
    group_blocks: int
    groups: int
    inode_size: int
    inode_bits: int
    group_bits: int
    folder_block: int
    has_types: bool
    sector: int
    has_sums: bool

    @classmethod
    def read(cls, volume: OpenedVolume) -> Geometry:
        """Read it; raises DamagedError, or UnsupportedError for features that are not known."""
        head = volume.read(0, 264)
        if not is_xfs(head):
            raise DamagedError("it has no superblock")

        def number(at: int, size: int) -> int:
            return int.from_bytes(head[at : at + size], "big")

        version = number(100, 2) & 0xF
        block_bits, inode_bits, group_bits, folder_bits = head[120], head[123], head[124], head[192]
        incompatible = number(216, 4) if version == _VERSION_5 else 0
        if version not in (4, _VERSION_5) or incompatible & ~_KNOWN_INCOMPATIBLE:
            raise UnsupportedError(f"{volume.name}: the XFS file system uses unsupported features")
        types = incompatible & _FTYPE_5 if version == _VERSION_5 else number(200, 4) & _FTYPE_4
        found = cls(
            number(4, 4),
            number(8, 8),
            number(56, 8),
            number(84, 4),
            number(88, 4),
            number(104, 2),
            inode_bits,
            group_bits,
            number(4, 4) << min(folder_bits, 8),
            bool(types),
            number(102, 2),
            version == _VERSION_5,
        )
        found.check(volume, block_bits)
        return found

    def check(self, volume: OpenedVolume, block_bits: int) -> None:
        """Raise DamagedError unless the sizes fit each other and the volume."""
        sizes_fit = 9 <= block_bits <= 16 and self.block == 1 << block_bits
        inodes_fit = self.inode_size in (256, 512, 1024, 2048)
        inodes_fit = inodes_fit and self.inode_size << self.inode_bits == self.block
        groups_fit = 0 < self.group_blocks <= 1 << min(self.group_bits, 32)
        sectors_fit = self.sector in (512, 1024, 2048, 4096)
        if not (
            sizes_fit
            and inodes_fit
            and groups_fit
            and sectors_fit
            and self.folder_block <= 64 << 10
        ):
            raise DamagedError("the superblock contains invalid sizes")
        if self.blocks * self.block > volume.size:
            raise DamagedError("it is truncated, or larger than its partition")

    def check_sum(self, data: bytes, at: int, what: str) -> None:
        """Raise DamagedError unless the checksum at byte `at` of metadata matches them."""
        if not self.has_sums:
            return
        plain = data[:at] + bytes(4) + data[at + 4 :]
        if crc32c(plain) ^ 0xFFFFFFFF != int.from_bytes(data[at : at + 4], "little"):
            raise DamagedError(f"{what} does not match its checksum")

    def place(self, block: int) -> int:
        """Return the byte of a block, given its group and its number in it."""
        group, number = block >> self.group_bits, block & (1 << self.group_bits) - 1
        return (group * self.group_blocks + number) * self.block

    def inode_place(self, inode: int) -> int:
        """Return the byte of an inode."""
        index = inode & (1 << self.inode_bits) - 1
        return self.place(inode >> self.inode_bits) + index * self.inode_size
