"""Read squashfs images: folders, and files as ranges of their compressed blocks.

See `squashfs_tables.py` for the tables. Nothing is decompressed but the metadata that are needed;
a block of data is when it is read. Owners, times and extended attributes are not kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from imager.content.extents import BlockRange, Content, Extent
from imager.content.tree import Tree
from imager.formats.squashfs_tables import (
    MAGIC,
    Cursor,
    Metadata,
    StoredBlock,
    Superblock,
    read_fragment,
)
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

# What tells a squashfs image: the beginning of its superblock.
HEAD_SIZE = 32
_VERSION = b"\4\0\0\0"
# What all data together may be when they are decompressed.
_LARGEST = 64 << 30
# Each level of images in images multiplies what is decompressed to read a byte.
_DEEPEST = 3

_FOLDER, _FILE, _LINK = 1, 2, 3
_KINDS = range(1, 8)
# An inode of a kind plus 7 has more fields.
_EXTENDED = 7
_HEADER = struct.Struct("<HH12x")
_FOLDER_INODE = struct.Struct("<I4xHH4x")
_LONG_FOLDER_INODE = struct.Struct("<4xII4xHH4x")
_FILE_INODE = struct.Struct("<IIII")
_LONG_FILE_INODE = struct.Struct("<QQ12xII4x")
_LINK_INODE = struct.Struct("<4xI")
_NO_FRAGMENT = 0xFFFFFFFF
_WORD = struct.Struct("<I")
_ENTRY_KINDS = {_FILE: Kind.FILE, _FOLDER: Kind.FOLDER}

# `.` and `..`, which are not stored, count.
_EMPTY_FOLDER = 3
_RUN = struct.Struct("<II4x")
_MOST_IN_RUN = 256
_ENTRY = struct.Struct("<H4xH")


def is_squashfs(head: bytes) -> bool:
    """Return whether a volume that begins with `head` is a squashfs image."""
    return head.startswith(MAGIC) and head[28:HEAD_SIZE] == _VERSION


def open_squashfs(source: Path | Content, *, folder: str = "", name: str = "") -> Tree:
    """Return the contents of `folder` in a squashfs image; see `read_tree`.

    Raises InputError for a damaged or truncated image, UnsupportedError for a compression that is
    not read and for images in images in images, OutputError for a read error.
    """
    with opened_volume(source, offset=0, size=None, what="squashfs", name=name) as volume:
        if _depth(volume.part(0, volume.size)) >= _DEEPEST:
            raise UnsupportedError(
                f"{volume.name}: too many squashfs images are nested",
                hint="extract the image to a file first",
            )
        return read_tree(volume, _Squashfs(volume), folder)


def _depth(content: Content) -> int:
    """Return how often blocks must be decompressed to read a content."""
    packed = (each.source.packed for each in content.extents if isinstance(each.source, BlockRange))
    return max((1 + _depth(each) for each in packed), default=0)


@dataclass(frozen=True, slots=True)
class _Inode:
    """The inode at byte `offset` of the metadata block at byte `place`."""

    place: int
    offset: int
    kind: int = field(compare=False)
    is_long: bool = field(compare=False)
    mode: int = field(compare=False)


class _Squashfs(Format[_Inode]):
    def __init__(self, volume: OpenedVolume) -> None:
        self._volume = volume
        self._superblock = Superblock.read(volume)
        self._metadata = Metadata(volume, self._superblock.codec)
        self._fragments: dict[int, Content | BlockRange] = {}
        self._data = 0
        root = self._superblock.root
        self.root = self._inode(root >> 16, root & 0xFFFF)
        if self.root.kind != _FOLDER:
            raise DamagedError("its root is not a folder")

    def entries(self, folder: _Inode) -> Iterator[RawEntry[_Inode]]:
        fields = self._fields(folder)
        if folder.is_long:
            size, start, _, offset = _LONG_FOLDER_INODE.unpack(fields.take(_LONG_FOLDER_INODE.size))
        else:
            start, size, offset = _FOLDER_INODE.unpack(fields.take(_FOLDER_INODE.size))
        left = size - _EMPTY_FOLDER
        if left <= 0:
            return
        cursor = Cursor(self._metadata, self._superblock.folders + start, offset)
        while left > 0:
            last, inodes = _RUN.unpack(cursor.take(_RUN.size))
            left -= _RUN.size
            if last >= _MOST_IN_RUN:
                raise DamagedError("a folder has an invalid record")
            for _ in range(last + 1):
                place, length = _ENTRY.unpack(cursor.take(_ENTRY.size))
                name = cursor.take(length + 1)
                left -= _ENTRY.size + len(name)
                self._volume.count()
                yield self._entry(name.decode("utf-8", "surrogateescape"), inodes, place)
        if left:
            raise DamagedError("a folder has an invalid size")

    def _entry(self, name: str, block: int, offset: int) -> RawEntry[_Inode]:
        inode = self._inode(block, offset)
        target = self._target(inode) if inode.kind == _LINK else ""
        kind = _ENTRY_KINDS.get(inode.kind, Kind.OTHER)
        return RawEntry(name, kind, inode, target, inode.mode)

    def _inode(self, block: int, offset: int) -> _Inode:
        place = self._superblock.inodes + block
        kind, mode = _HEADER.unpack(Cursor(self._metadata, place, offset).take(_HEADER.size))
        is_long = kind > _EXTENDED
        kind -= _EXTENDED if is_long else 0
        if kind not in _KINDS:
            raise DamagedError(f"the inode at byte {offset} of block {block} is damaged")
        return _Inode(place, offset, kind, is_long, mode & 0o7777)

    def _fields(self, inode: _Inode) -> Cursor:
        """Return the position of an inode's fields after those that all have."""
        cursor = Cursor(self._metadata, inode.place, inode.offset)
        cursor.take(_HEADER.size)
        return cursor

    def _target(self, link: _Inode) -> str:
        fields = self._fields(link)
        (size,) = _LINK_INODE.unpack(fields.take(_LINK_INODE.size))
        if size > LONGEST_TARGET:
            return ""
        return fields.take(size).decode("utf-8", "surrogateescape")

    def content(self, file: _Inode) -> Content:
        fields = self._fields(file)
        form = _LONG_FILE_INODE if file.is_long else _FILE_INODE
        values = form.unpack(fields.take(form.size))
        if file.is_long:
            place, size, fragment, skip = values
        else:
            place, fragment, skip, size = values
        block_size = self._superblock.block_size
        has_fragment = fragment != _NO_FRAGMENT
        count = size // block_size if has_fragment else -(-size // block_size)
        self._volume.count(count + has_fragment)
        extents: list[Extent] = []
        for number, (word,) in enumerate(_WORD.iter_unpack(fields.take(count * _WORD.size))):
            block = StoredBlock.of(place, word, block_size)
            place += block.size
            offset = number * block_size
            if block.size:
                length = min(block_size, size - offset)
                extents += self._extents(self._stored(block, length), 0, offset, length)
        offset = count * block_size
        if has_fragment and offset < size:
            extents += self._extents(self._fragment(fragment), skip, offset, size - offset)
        return Content(size, tuple(extents))

    def _fragment(self, number: int) -> Content | BlockRange:
        """Return a block with the ends of several files."""
        if number not in self._fragments:
            block = read_fragment(self._metadata, self._superblock, number)
            self._fragments[number] = self._stored(block, self._superblock.block_size)
        return self._fragments[number]

    def _stored(self, block: StoredBlock, size: int) -> Content | BlockRange:
        """Return what decompresses to at most `size` bytes, or the bytes of a stored block."""
        self._data += size
        if self._data > _LARGEST:
            raise DamagedError(f"its files have more than {_LARGEST >> 30} GiB")
        stored = self._volume.part(block.place, block.size)
        return BlockRange(stored, self._superblock.codec, size) if block.is_packed else stored

    def _extents(
        self, block: Content | BlockRange, skip: int, offset: int, length: int
    ) -> Iterator[Extent]:
        """Yield the extents of a file at `offset`: `length` bytes, from `skip` of a block on."""
        if skip + length > block.size:
            raise DamagedError(f"a file has bytes {skip} to {skip + length} of a shorter block")
        if isinstance(block, BlockRange):
            yield Extent(offset, length, replace(block, offset=skip) if skip else block)
        else:
            yield from (each.shifted(offset) for each in block.slice(skip, length).extents)
