"""The tables of a squashfs image: superblock, metadata blocks, fragments.

Follows Linux, fs/squashfs/squashfs_fs.h, and the description in
https://docs.kernel.org/filesystems/squashfs.html. Numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field

from imager.content.blocks import decompress_block
from imager.content.extents import Codec
from imager.content.recent import kept
from imager.formats.volume_reader import DamagedError, OpenedVolume
from imager.support.errors import InputError, UnsupportedError

MAGIC = b"hsqs"
_SUPERBLOCK = struct.Struct("<4sI4xIIHHH2xHHQQ16xQQQ8x")
_CODECS = {1: Codec.ZLIB, 4: Codec.XZ, 6: Codec.ZSTD}
_OTHER_COMPRESSION = {2: "lzma", 3: "lzo", 5: "lz4"}
_BLOCK_LOGS = range(12, 21)

_METADATA = 8192
_STORED_METADATA = 0x8000
_STORED = 1 << 24
# A quarter of the reader's other limits on memory.
_MOST_KEPT = 512

_FRAGMENT = struct.Struct("<QI4x")
_FRAGMENTS_IN_BLOCK = _METADATA // _FRAGMENT.size


@dataclass(frozen=True, slots=True)
class Superblock:
    """The places of the tables, in bytes; `root` is the reference to the root folder's inode."""

    inode_count: int
    block_size: int
    fragment_count: int
    codec: Codec
    root: int
    inodes: int
    folders: int
    fragments: int

    @classmethod
    def read(cls, volume: OpenedVolume) -> Superblock:
        """Return the superblock; raises DamagedError, UnsupportedError for other compressions."""
        (
            magic, inode_count, block_size, fragment_count, compression, block_log, _flags,
            major, minor, root, used, inodes, folders, fragments,
        ) = _SUPERBLOCK.unpack(volume.read(0, _SUPERBLOCK.size))  # fmt: skip
        if magic != MAGIC or (major, minor) != (4, 0):
            raise DamagedError("its superblock is invalid")
        if block_log not in _BLOCK_LOGS or block_size != 1 << block_log:
            raise DamagedError(f"its block size is {block_size}")
        if used > volume.size:
            raise DamagedError("the file ends before the end of the volume")
        codec = _CODECS.get(compression)
        if codec is None:
            name = _OTHER_COMPRESSION.get(compression, f"type {compression}")
            raise UnsupportedError(
                f"{volume.name}: squashfs compressed with {name} is not read",
                hint="unpack it with unsquashfs",
            )
        return cls(inode_count, block_size, fragment_count, codec, root, inodes, folders, fragments)


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A data block of `size` bytes at byte `place` of the volume; `is_packed` if compressed."""

    place: int
    size: int
    is_packed: bool

    @classmethod
    def of(cls, place: int, word: int, most: int) -> StoredBlock:
        """Return the block whose size and kind a table gives as `word`, of at most `most` bytes."""
        size = word & (_STORED - 1)
        if word >= 2 * _STORED or size > most:
            raise DamagedError(f"the block at byte {place} has an invalid size")
        return cls(place, size, not word & _STORED)


@dataclass
class Metadata:
    """Metadata blocks: each has 8 KiB when it is decompressed, except the last of a table."""

    volume: OpenedVolume
    codec: Codec
    _blocks: OrderedDict[int, tuple[bytes, int]] = field(default_factory=OrderedDict)

    def block(self, place: int) -> tuple[bytes, int]:
        """Return the bytes of the block at byte `place`, and the place of the next block."""
        return kept(self._blocks, place, lambda: self._read(place), most=_MOST_KEPT)

    def _read(self, place: int) -> tuple[bytes, int]:
        header = int.from_bytes(self.volume.read(place, 2), "little")
        size = header & (_STORED_METADATA - 1)
        if not 0 < size <= _METADATA:
            raise DamagedError(f"the metadata at byte {place} have an invalid size")
        data = self.volume.read(place + 2, size)
        if not header & _STORED_METADATA:
            self.volume.spend(_METADATA)
            try:
                data = decompress_block(data, self.codec, _METADATA)
            except InputError as error:
                raise DamagedError(f"the metadata at byte {place}: {error.message}") from error
        if not data:
            raise DamagedError(f"the metadata at byte {place} are empty")
        return data, place + 2 + size


class Cursor:
    """Reads metadata from a byte of a block on, across blocks."""

    def __init__(self, metadata: Metadata, place: int, offset: int) -> None:
        """Begin at byte `offset` of the decompressed block at byte `place` of the volume."""
        self._metadata = metadata
        self._data, self._next = metadata.block(place)
        if offset > len(self._data):
            raise DamagedError(f"the metadata at byte {place} end before byte {offset}")
        self._offset = offset

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        parts: list[bytes] = []
        while count:
            if self._offset == len(self._data):
                (self._data, self._next), self._offset = self._metadata.block(self._next), 0
            part = self._data[self._offset : self._offset + count]
            parts.append(part)
            self._offset += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def read_fragment(metadata: Metadata, superblock: Superblock, number: int) -> StoredBlock:
    """Return the block in which the ends of several files are."""
    if number >= superblock.fragment_count:
        raise DamagedError(f"fragment {number} does not exist")
    index, inner = divmod(number, _FRAGMENTS_IN_BLOCK)
    place = metadata.volume.read(superblock.fragments + index * 8, 8)
    cursor = Cursor(metadata, int.from_bytes(place, "little"), inner * _FRAGMENT.size)
    start, word = _FRAGMENT.unpack(cursor.take(_FRAGMENT.size))
    return StoredBlock.of(start, word, superblock.block_size)
