"""Read foreign XFS volumes: folders, inodes and extents, of versions 4 and 5.

Follows Linux, fs/xfs/libxfs/xfs_format.h and xfs_da_format.h. All numbers are big-endian.
The checksums of version 5 are verified. A log that must be replayed is ignored: what it would
change is missing.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imager.content.extents import Content
from imager.content.tree import Tree
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
from imager.formats.xfs.geometry import Geometry
from imager.support.errors import UnsupportedError
from imager.support.units import align_up

_LOCAL, _EXTENTS, _BTREE = 1, 2, 3
_NREXT64 = 1 << 4
_REALTIME = 0x1
_DEEPEST = 8
# The part of a folder's address space behind which there are only indexes.
_LEAF_OFFSET = 1 << 35
_DATA_BLOCKS = {b"XDD3": 64, b"XDB3": 64, b"XD2D": 16, b"XD2B": 16}
_WITH_INDEX = (b"XDB3", b"XD2B")
_TREE_BLOCKS = {b"BMA3": 72, b"BMAP": 24}
# Where the checksum is, little-endian, in each kind of metadata.
_SUM_OF_INODE, _SUM_OF_FOLDER, _SUM_OF_TREE = 100, 4, 64
# The first sectors of each group: superblock, free space, inodes, free list.
_GROUP_SUMS = ((b"XFSB", 224), (b"XAGF", 216), (b"XAGI", 312), (b"XAFL", 32))
_LINK_HEADER = 56
_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER}
_LARGEST_FOLDER = 64 << 20


@dataclass(frozen=True, slots=True)
class _Inode:
    """A file or folder; `fork` is its data fork, with `extents` of them in the list."""

    number: int
    mode: int = field(compare=False)
    size: int = field(compare=False)
    format: int = field(compare=False)
    extents: int = field(compare=False)
    fork: bytes = field(compare=False)
    is_realtime: bool = field(compare=False)


def open_xfs(source: Path | Content, *, folder: str = "", name: str = "") -> Tree:
    """Return the contents of `folder` in an XFS volume; see `read_tree`.

    Raises InputError for a damaged or truncated volume, UnsupportedError for unsupported features,
    OutputError for a read error.
    """
    with opened_volume(source, offset=0, size=None, what="XFS", name=name) as volume:
        return read_tree(volume, _Xfs(volume), folder)


def check_xfs(source: Path | Content, *, name: str = "") -> None:
    """Verify the headers of all groups of an XFS volume of version 5; raises as `open_xfs`."""
    with opened_volume(source, offset=0, size=None, what="XFS", name=name) as volume:
        geometry = Geometry.read(volume)
        for group in range(geometry.groups if geometry.has_sums else 0):
            volume.count()
            start = group * geometry.group_blocks * geometry.block
            for number, (magic, at) in enumerate(_GROUP_SUMS):
                data = volume.read(start + number * geometry.sector, geometry.sector)
                what = f"the header {magic.decode()} of group {group}"
                if data[:4] != magic:
                    raise DamagedError(f"{what} is missing")
                geometry.check_sum(data, at, what)


class _Xfs(Format[_Inode]):
    def __init__(self, volume: OpenedVolume) -> None:
        self._volume = volume
        self._geometry = Geometry.read(volume)
        self.root = self._inode(self._geometry.root)
        if not stat.S_ISDIR(self.root.mode):
            raise DamagedError("its root is not a folder")

    def entries(self, folder: _Inode) -> Iterator[RawEntry[_Inode]]:
        if folder.format == _LOCAL:
            found = self._short_entries(folder)
        else:
            found = self._block_entries(folder)
        for name, number in found:
            self._volume.count()
            if name not in (b".", b".."):
                inode = self._inode(number)
                kind = _KINDS.get(stat.S_IFMT(inode.mode), Kind.OTHER)
                target = self._target(inode) if stat.S_ISLNK(inode.mode) else ""
                yield RawEntry(name.decode("utf-8", "surrogateescape"), kind, inode, target)

    def content(self, file: _Inode) -> Content:
        if file.is_realtime:
            raise UnsupportedError(f"{self._volume.name}: a file is on a realtime device")
        return self._volume.content(file.size, self._runs(file))

    def _target(self, link: _Inode) -> str:
        """Return the target of a symbolic link: in the inode if it fits, else in a block."""
        if link.size > LONGEST_TARGET:
            return ""
        if link.format == _LOCAL:
            return link.fork[: link.size].decode("utf-8", "surrogateescape")
        runs = list(self._runs(link))
        if not runs:
            return ""
        block = self._volume.read(runs[0].place, min(runs[0].length, self._geometry.block))
        start = _LINK_HEADER if block.startswith(b"XSLM") else 0
        return block[start : start + link.size].decode("utf-8", "surrogateescape")

    def _inode(self, number: int) -> _Inode:
        geometry = self._geometry
        raw = self._volume.read(geometry.inode_place(number), geometry.inode_size)
        mode, version, form = int.from_bytes(raw[2:4], "big"), raw[4], raw[5]
        if raw[:2] != b"IN" or version not in (1, 2, 3):
            raise DamagedError(f"inode {number} is damaged")
        if version == 3:
            geometry.check_sum(raw, _SUM_OF_INODE, f"inode {number}")
        start = 176 if version == 3 else 100
        end = start + raw[82] * 8 if raw[82] else len(raw)
        many = version == 3 and int.from_bytes(raw[120:128], "big") & _NREXT64
        extents = int.from_bytes(raw[24:32] if many else raw[76:80], "big")
        realtime = bool(int.from_bytes(raw[90:92], "big") & _REALTIME)
        size = int.from_bytes(raw[56:64], "big")
        return _Inode(number, mode, size, form, extents, raw[start:end], realtime)

    def _short_entries(self, folder: _Inode) -> Iterator[tuple[bytes, int]]:
        data = folder.fork[: folder.size]
        width = 8 if len(data) > 1 and data[1] else 4
        at = 2 + width
        for _ in range(data[0] if data else 0):
            if at + 3 > len(data):
                raise DamagedError(f"the folder of inode {folder.number} is truncated")
            length = data[at]
            start = at + 3
            end = start + length + self._geometry.has_types
            if not length or end + width > len(data):
                raise DamagedError(f"the folder of inode {folder.number} has an invalid record")
            yield data[start : start + length], int.from_bytes(data[end : end + width], "big")
            at = end + width

    def _block_entries(self, folder: _Inode) -> Iterator[tuple[bytes, int]]:
        size = self._geometry.folder_block
        if folder.size > _LARGEST_FOLDER:
            raise DamagedError(f"the folder of inode {folder.number} is too large")
        block = b""
        end = 0
        for run in self._runs(folder):
            if run.offset >= _LEAF_OFFSET:
                return
            if run.offset != end and (block or run.offset % size):
                raise DamagedError(f"the folder of inode {folder.number} has a hole")
            end = run.offset + run.length
            if end > _LARGEST_FOLDER:
                raise DamagedError(f"the folder of inode {folder.number} is too large")
            for place in range(run.place, run.place + run.length, self._geometry.block):
                block += self._volume.read(place, self._geometry.block)
                if len(block) == size:
                    yield from self._records(block, folder)
                    block = b""

    def _records(self, block: bytes, folder: _Inode) -> Iterator[tuple[bytes, int]]:
        at = _DATA_BLOCKS.get(block[:4], 0)
        if not at:
            raise DamagedError(f"the folder of inode {folder.number} has an invalid block")
        if block[:4] in (b"XDD3", b"XDB3"):
            what = f"a block of the folder of inode {folder.number}"
            self._geometry.check_sum(block, _SUM_OF_FOLDER, what)
        end = len(block)
        if block[:4] in _WITH_INDEX:
            end -= 8 + int.from_bytes(block[-8:-4], "big") * 8
        while at < end:
            if block[at : at + 2] == b"\xff\xff":
                length = int.from_bytes(block[at + 2 : at + 4], "big")
            else:
                length = align_up(11 + block[at + 8] + self._geometry.has_types, 8)
                name = block[at + 9 : at + 9 + block[at + 8]]
                yield name, int.from_bytes(block[at : at + 8], "big")
            if length < 8 or length % 8 or at + length > end:
                raise DamagedError(f"the folder of inode {folder.number} has an invalid record")
            at += length

    def _runs(self, inode: _Inode) -> Iterator[Run]:
        """Yield the runs of a file's data, in file order."""
        if inode.format == _EXTENTS:
            if inode.extents * 16 > len(inode.fork):
                raise DamagedError(f"inode {inode.number} has too many extents")
            records = self._extents(inode.fork[: inode.extents * 16])
        elif inode.format == _BTREE:
            records = self._tree_extents(inode)
        else:
            raise DamagedError(f"inode {inode.number} has data of an unknown form")
        size = self._geometry.block
        least = 0
        for offset, block, count, unwritten in records:
            if offset < least or not count:
                raise DamagedError(f"the extents of inode {inode.number} are not in order")
            least = offset + count
            if not unwritten:
                yield Run(offset * size, self._geometry.place(block), count * size)

    def _extents(self, data: bytes) -> Iterator[tuple[int, int, int, bool]]:
        """Yield (logical block, block, number of blocks, is unwritten) of each extent."""
        for high, low in struct.iter_unpack(">QQ", data):
            self._volume.count()
            offset = (high & (1 << 63) - 1) >> 9
            yield offset, (high & 0x1FF) << 43 | low >> 21, low & 0x1FFFFF, bool(high >> 63)

    def _tree_extents(self, inode: _Inode) -> Iterator[tuple[int, int, int, bool]]:
        level, count = struct.unpack_from(">HH", inode.fork)
        most = (len(inode.fork) - 4) // 16
        if not 1 <= level <= _DEEPEST or not 1 <= count <= most:
            raise DamagedError(f"inode {inode.number} has a damaged extent tree")
        start = 4 + most * 8
        for (block,) in struct.iter_unpack(">Q", inode.fork[start : start + count * 8]):
            yield from self._node_extents(inode, block, level - 1)

    def _node_extents(
        self, inode: _Inode, block: int, level: int
    ) -> Iterator[tuple[int, int, int, bool]]:
        node = self._volume.read(self._geometry.place(block), self._geometry.block)
        self._volume.count()
        start = _TREE_BLOCKS.get(node[:4], 0)
        own, count = struct.unpack_from(">HH", node, 4)
        most = (len(node) - start) // 16
        if not start or own != level or count > most:
            raise DamagedError(f"inode {inode.number} has a damaged extent tree")
        if node[:4] == b"BMA3":
            what = f"the extent tree of inode {inode.number}"
            self._geometry.check_sum(node, _SUM_OF_TREE, what)
        if not level:
            yield from self._extents(node[start : start + count * 16])
            return
        begin = start + most * 8
        for (child,) in struct.iter_unpack(">Q", node[begin : begin + count * 8]):
            yield from self._node_extents(inode, child, level - 1)
