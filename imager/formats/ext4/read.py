"""Read foreign ext4 volumes: folders, inodes and extent trees, with checksum verification.

Follows https://docs.kernel.org/filesystems/ext4/, "Index Nodes", "The Contents of inode.i_block"
and "Directory Entries". Indexed folders are read leaf by leaf, since index blocks look like empty
leaves. Holes and unwritten extents read as zeros.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imager.content.extents import Content
from imager.content.tree import Tree
from imager.formats.ext4.groups import Groups
from imager.formats.ext4.libext2fs import EXTENTS_FLAG, ROOT_INODE, crc32c
from imager.formats.runs import Run
from imager.formats.volume_reader import (
    LONGEST_TARGET,
    DamagedError,
    Format,
    Kind,
    OpenedVolume,
    RawEntry,
    opened_volume,
    read_tree,
)
from imager.support.errors import UnsupportedError

# Compressed, encrypted, inline data.
_ODD_FLAGS = 0x4 | 0x800 | 0x10000000
_EXTENT_MAGIC = 0xF30A
_DEEPEST = 5
# A greater length marks an unwritten extent; the length is the excess.
_LONGEST_EXTENT = 0x8000
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER}
_HEADER = struct.Struct("<HHHH4x")
_EXTENT = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIH2x")
_NAME = struct.Struct("<IHBB")
_TAIL = struct.Struct("<IHBBI")
_TAIL_START = (0, _TAIL.size, 0, 0xDE)


@dataclass(frozen=True, slots=True)
class _Inode:
    """A file or folder; `map` is the extent tree root, `seed` the initial checksum value."""

    number: int
    mode: int = field(compare=False)
    size: int = field(compare=False)
    flags: int = field(compare=False)
    map: bytes = field(compare=False)
    seed: int | None = field(compare=False)


def open_ext4(
    source: Path | Content,
    *,
    offset: int = 0,
    size: int | None = None,
    folder: str = "",
    name: str = "",
) -> Tree:
    """Return the contents of `folder` in an ext4 volume; see `read_tree`.

    The volume has `size` bytes (None: up to the end) at byte `offset` of `source`. Raises
    InputError for a damaged or truncated volume, UnsupportedError for a journal that needs replay
    or for unsupported features, OutputError for a read error, DependencyError if libext2fs, which
    computes checksums, is missing.
    """
    with opened_volume(source, offset=offset, size=size, what="ext4", name=name) as volume:
        return read_tree(volume, _Ext4(volume), folder)


class _Ext4(Format[_Inode]):
    def __init__(self, volume: OpenedVolume) -> None:
        self._volume = volume
        self._groups = Groups.read(volume)
        self.root = self._inode(ROOT_INODE)
        if not stat.S_ISDIR(self.root.mode):
            raise DamagedError("its root is not a folder")

    def entries(self, folder: _Inode) -> Iterator[RawEntry[_Inode]]:
        size = self._groups.block_size
        end = 0
        for run in self._runs(folder):
            if run.offset != end or folder.size % size:
                raise DamagedError(f"the folder of inode {folder.number} has a hole")
            end = min(run.offset + run.length, folder.size)
            for place in range(run.place, run.place + end - run.offset, size):
                yield from self._block_entries(self._volume.read(place, size), folder)
        if end != folder.size:
            raise DamagedError(f"the folder of inode {folder.number} is truncated")

    def content(self, file: _Inode) -> Content:
        return self._volume.content(file.size, self._runs(file))

    def _block_entries(self, block: bytes, folder: _Inode) -> Iterator[RawEntry[_Inode]]:
        self._check_leaf(block, folder)
        at = 0
        while at < len(block):
            if at + _NAME.size > len(block):
                raise DamagedError(f"the folder of inode {folder.number} has a truncated record")
            number, length, name_length, _ = _NAME.unpack_from(block, at)
            end = at + length
            if length < _NAME.size + name_length or length % 4 or end > len(block):
                raise DamagedError(f"the folder of inode {folder.number} has an invalid record")
            name = block[at + _NAME.size : at + _NAME.size + name_length]
            if number and name not in (b".", b".."):
                self._volume.count()
                yield self._entry(name.decode("utf-8", "surrogateescape"), number)
            at = end

    def _check_leaf(self, block: bytes, folder: _Inode) -> None:
        """Verify the checksum of a folder's leaf block; index blocks store theirs elsewhere."""
        *start, found = _TAIL.unpack_from(block, len(block) - _TAIL.size)
        if folder.seed is not None and tuple(start) == _TAIL_START:
            _check_sum(block[: -_TAIL.size], folder, found, "folder")

    def _entry(self, name: str, number: int) -> RawEntry[_Inode]:
        inode = self._inode(number)
        target = self._target(inode) if stat.S_ISLNK(inode.mode) else ""
        return RawEntry(name, _KINDS.get(stat.S_IFMT(inode.mode), Kind.OTHER), inode, target)

    def _target(self, link: _Inode) -> str:
        """Return the target of a symbolic link: in the inode if it fits, else in a block."""
        if link.size > LONGEST_TARGET or link.flags & _ODD_FLAGS:
            return ""
        if not link.flags & EXTENTS_FLAG:
            return link.map[: link.size].decode("utf-8", "surrogateescape")
        runs = list(self._runs(link))
        data = self._volume.read(runs[0].place, link.size) if runs else b""
        return data.decode("utf-8", "surrogateescape")

    def _inode(self, number: int) -> _Inode:
        if not 0 < number <= self._groups.inodes:
            raise DamagedError(f"inode {number} does not exist")
        raw = self._volume.read(self._groups.inode_offset(number), self._groups.inode_size)
        mode, size_low, links, flags, generation, size_high = (
            int.from_bytes(raw[at : at + width], "little")
            for at, width in ((0, 2), (4, 4), (26, 2), (32, 4), (100, 4), (108, 4))
        )
        if not links:
            raise DamagedError(f"inode {number} is not in use")
        seed = self._groups.seed
        if seed is not None:
            seed = crc32c(struct.pack("<II", number, generation), seed)
            _check_inode(raw, number, seed)
        return _Inode(number, mode, size_low | size_high << 32, flags, raw[40:100], seed)

    def _runs(self, inode: _Inode) -> Iterator[Run]:
        """Yield the runs of a file's data, in file order."""
        if inode.flags & _ODD_FLAGS or (inode.size and not inode.flags & EXTENTS_FLAG):
            raise UnsupportedError(
                f"{self._volume.name}: inode {inode.number} has no extents, as in ext2 and ext3",
                hint="copy the files to a folder, and use that folder",
            )
        if not inode.size:
            return
        size = self._groups.block_size
        least = 0
        for logical, physical, count, reserved in self._leaves(inode.map, inode, None):
            if logical < least or not count:
                raise DamagedError(f"the extents of inode {inode.number} are not in order")
            least = logical + count
            if physical + count > self._groups.blocks:
                raise DamagedError(f"inode {inode.number} has data outside of the file system")
            if not reserved:
                yield Run(logical * size, physical * size, count * size)

    def _leaves(
        self, node: bytes, inode: _Inode, depth: int | None
    ) -> Iterator[tuple[int, int, int, bool]]:
        """Yield (logical block, physical block, block count, is unwritten) of each extent.

        `depth` is the expected depth of the node; None, for the root, accepts any.
        """
        magic, entries, most, own = _HEADER.unpack_from(node)
        fit = (len(node) - _HEADER.size) // _EXTENT.size
        if magic != _EXTENT_MAGIC or not entries <= most <= fit:
            raise DamagedError(f"inode {inode.number} has a damaged extent tree")
        if own > _DEEPEST or depth not in (None, own):
            raise DamagedError(f"inode {inode.number} has an extent tree of invalid depth")
        if depth is not None and inode.seed is not None:
            end = _HEADER.size + most * _EXTENT.size
            found = int.from_bytes(node[end : end + 4], "little")
            _check_sum(node[:end], inode, found, "extent tree")
        for at in range(_HEADER.size, _HEADER.size + entries * _EXTENT.size, _EXTENT.size):
            self._volume.count()
            if own:
                _, low, high = _INDEX.unpack_from(node, at)
                child = self._volume.read(
                    (low | high << 32) * self._groups.block_size, self._groups.block_size
                )
                yield from self._leaves(child, inode, own - 1)
            else:
                logical, length, high, low = _EXTENT.unpack_from(node, at)
                reserved = length > _LONGEST_EXTENT
                count = length - _LONGEST_EXTENT if reserved else length
                yield logical, low | high << 32, count, reserved


def _check_sum(data: bytes, inode: _Inode, found: int, what: str) -> None:
    if inode.seed is not None and crc32c(data, inode.seed) != found:
        raise DamagedError(f"the {what} of inode {inode.number} does not match its checksum")


def _check_inode(raw: bytes, number: int, seed: int) -> None:
    """Verify an inode's checksum: 16 bits, and 16 more if its second part has space for them."""
    plain, mask = bytearray(raw), 0xFFFF
    found = int.from_bytes(raw[0x7C:0x7E], "little")
    plain[0x7C:0x7E] = bytes(2)
    if len(raw) > 128 and int.from_bytes(raw[0x80:0x82], "little") >= 4:
        found |= int.from_bytes(raw[0x82:0x84], "little") << 16
        plain[0x82:0x84] = bytes(2)
        mask = 0xFFFFFFFF
    if crc32c(bytes(plain), seed) & mask != found:
        raise DamagedError(f"inode {number} does not match its checksum")
