"""Read the superblock and block groups of a foreign ext4 volume, to locate its inodes.

Follows https://docs.kernel.org/filesystems/ext4/, "The Super Block" and "Block Group Descriptors".
"""

from __future__ import annotations

import struct
from collections.abc import Container
from dataclasses import dataclass, field

from imager.formats.ext4.libext2fs import crc32c
from imager.formats.volume_reader import DamagedError, OpenedVolume
from imager.support.errors import UnsupportedError

START, LENGTH = 1024, 1024
_MAGIC = b"\x53\xef"
CHECKSUM = 0x3FC
_CLEAN = 1
_SPARSE_SUPER2 = 0x200
_FILE_TYPE, _NEEDS_RECOVERY, _META_GROUPS, _64_BIT, _OWN_SEED = 0x2, 0x4, 0x10, 0x80, 0x2000
_EXTENTS, _FLEXIBLE_GROUPS, _LARGE_FOLDERS = 0x40, 0x200, 0x4000
_READABLE = (
    _FILE_TYPE | _META_GROUPS | _64_BIT | _OWN_SEED | _EXTENTS | _FLEXIBLE_GROUPS | _LARGE_FOLDERS
)
_SPARSE_SUPER, _CHECKSUMS = 0x1, 0x400
_BLOCK_SIZES = (1024, 2048, 4096)


def is_ext4(head: bytes) -> bool:
    """Return whether a volume that starts with `head`, at least 2 KiB, is ext2, ext3 or ext4."""
    return head[START + 0x38 : START + 0x3A] == _MAGIC


def read_ext4_label(head: bytes) -> str:
    """Return the label of the ext2/3/4 volume that starts with `head`, at least 2 KiB."""
    return head[START + 0x78 : START + 0x88].split(b"\0", 1)[0].decode("utf-8", "replace")


def read_ext4_size(head: bytes) -> int:
    """Return the size in bytes of the ext2/3/4 volume that starts with `head`, at least 2 KiB."""
    high = u32(head, START + 0x150) if u32(head, START + 0x60) & _64_BIT else 0
    return (high << 32 | u32(head, START + 4)) << 10 + min(u32(head, START + 0x18), 6)


@dataclass(frozen=True, slots=True)
class Groups:
    """Superblock data; sizes are in bytes, `seed` is the initial checksum value or None."""

    volume: OpenedVolume
    block_size: int
    blocks: int
    inodes: int
    inode_size: int
    inodes_per_group: int
    seed: int | None
    _first_block: int
    _blocks_per_group: int
    _descriptor_size: int
    # The first block of descriptors that is stored in the groups it describes (meta_bg).
    _first_meta: int
    # The groups with a superblock backup; None: 0, 1, and powers of 3, 5 and 7.
    _backups: Container[int] | None
    _known: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, volume: OpenedVolume) -> Groups:
        """Read the groups; raises DamagedError, and UnsupportedError for unsupported features."""
        raw = volume.read(START, LENGTH)
        if not is_ext4(bytes(START) + raw):
            raise DamagedError("it has no superblock")
        ro_compat, incompat, compat = u32(raw, 0x64), u32(raw, 0x60), u32(raw, 0x5C)
        has_checksums = bool(ro_compat & _CHECKSUMS)
        if has_checksums and crc32c(raw[:CHECKSUM]) != u32(raw, CHECKSUM):
            raise DamagedError("the superblock does not match its checksum")
        _check_readable(volume, raw, incompat)
        block_size = 1024 << u32(raw, 0x18) if u32(raw, 0x18) < 32 else 0
        if block_size not in _BLOCK_SIZES:
            raise UnsupportedError(f"{volume.name}: unsupported ext4 block size")
        seed = u32(raw, 0x270) if incompat & _OWN_SEED else crc32c(raw[0x68:0x78])
        found = cls(
            volume,
            block_size,
            blocks=u32(raw, 0x04) | (u32(raw, 0x150) << 32 if incompat & _64_BIT else 0),
            inodes=u32(raw, 0x00),
            inode_size=_u16(raw, 0x58) if u32(raw, 0x4C) else 128,
            inodes_per_group=u32(raw, 0x28),
            seed=seed if has_checksums else None,
            _first_block=u32(raw, 0x14),
            _blocks_per_group=u32(raw, 0x20),
            _descriptor_size=_u16(raw, 0xFE) if incompat & _64_BIT else 32,
            _first_meta=u32(raw, 0x104) if incompat & _META_GROUPS else 1 << 32,
            _backups=_backups(raw, compat, ro_compat),
        )
        found._check()
        return found

    def _check(self) -> None:
        if self.blocks * self.block_size > self.volume.size:
            raise DamagedError("it is truncated, or larger than its partition")
        sizes = (self._descriptor_size, self.inode_size)
        if any(size & (size - 1) or size > self.block_size for size in sizes):
            raise DamagedError("the superblock contains invalid sizes")
        if self._descriptor_size < 32 or self.inode_size < 128:
            raise DamagedError("the superblock contains invalid sizes")
        if not self._blocks_per_group or not self.inodes_per_group:
            raise DamagedError("the superblock defines empty block groups")
        if self._first_block > 1 or self.inodes != self.inodes_per_group * self._count:
            raise DamagedError("the superblock's counts of groups and inodes do not match")

    @property
    def _count(self) -> int:
        return -(-(self.blocks - self._first_block) // self._blocks_per_group)

    def inode_offset(self, number: int) -> int:
        """Return the offset in bytes of the existing inode `number`; raises DamagedError."""
        group, index = divmod(number - 1, self.inodes_per_group)
        if group not in self._known:
            self._known[group] = self._inode_table(group)
        return self._known[group] * self.block_size + index * self.inode_size

    def _inode_table(self, group: int) -> int:
        """Return the first block of a group's inode table."""
        raw = self.volume.read(self._descriptor_offset(group), self._descriptor_size)
        if self.seed is not None:
            plain = raw[:0x1E] + bytes(2) + raw[0x20:]
            found = crc32c(plain, crc32c(struct.pack("<I", group), self.seed))
            if found & 0xFFFF != _u16(raw, 0x1E):
                raise DamagedError(f"block group {group} does not match its checksum")
        return u32(raw, 0x08) | (u32(raw, 0x28) << 32 if len(raw) >= 64 else 0)

    def _descriptor_offset(self, group: int) -> int:
        per_block = self.block_size // self._descriptor_size
        meta, index = divmod(group, per_block)
        # The first descriptors follow the block that contains the superblock.
        block = START // self.block_size + 1
        if meta < self._first_meta:
            block += meta
        elif meta:
            first = meta * per_block
            block = self._first_block + first * self._blocks_per_group + self._has_backup(first)
        return block * self.block_size + index * self._descriptor_size

    def _has_backup(self, group: int) -> bool:
        if self._backups is not None:
            return group in self._backups
        return is_backup_group(group)


def _check_readable(volume: OpenedVolume, raw: bytes, incompat: int) -> None:
    repair = "repair a copy of the volume with `e2fsck -fy`, or build the image again"
    if incompat & _NEEDS_RECOVERY:
        raise UnsupportedError(
            f"{volume.name}: the ext4 file system was not unmounted: its journal must be replayed",
            hint=repair,
        )
    if unknown := incompat & ~_READABLE:
        raise UnsupportedError(
            f"{volume.name}: the ext4 file system uses unsupported features: {unknown:#x}",
            hint="copy the files to a folder, and use that folder",
        )
    if _u16(raw, 0x3A) != _CLEAN:
        raise UnsupportedError(f"{volume.name}: the ext4 file system is not clean", hint=repair)


def _backups(raw: bytes, compat: int, ro_compat: int) -> Container[int] | None:
    if compat & _SPARSE_SUPER2:
        return (0, u32(raw, 0x24C), u32(raw, 0x250))
    return None if ro_compat & _SPARSE_SUPER else range(1 << 32)


def is_backup_group(group: int) -> bool:
    """Return whether a block group has a copy of the superblock, with sparse_super."""
    return group in (0, 1) or any(_is_power(group, base) for base in (3, 5, 7))


def _is_power(number: int, base: int) -> bool:
    while number > 1 and number % base == 0:
        number //= base
    return number == 1


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def u32(data: bytes, at: int) -> int:
    """Return the little-endian 32-bit number at byte `at`."""
    return int.from_bytes(data[at : at + 4], "little")
