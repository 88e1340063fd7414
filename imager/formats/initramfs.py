"""Find the archives of an initramfs: cpio, after each other, compressed or not, as the kernel does.

Specification: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Where an archive
ends is found without decompressing it, but for gzip.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from imager.content.compression import stream_codec, zstd_frame_end
from imager.content.extents import Codec, Content
from imager.content.random_access import ContentReader
from imager.content.tree import Tree
from imager.formats.cpio import MAGICS, open_cpio
from imager.formats.errors import DamagedVolumeError
from imager.formats.xz import xz_stream_end
from imager.support.errors import UnsupportedError

_OTHERS = (
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"BZh", "bzip2"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x89LZO", "lzop"),
)
_PIECE = 64 << 10
_MOST_ARCHIVES = 256
# Of 128 KiB at most each: 128 GiB.
_MOST_BLOCKS = 1 << 20
_GZIP_LIMIT = 512 << 20


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive of an initramfs, from `start` to `end`; `codec` is None if it is not compressed.

    `end` is that of the initramfs if it is not known.
    """

    start: int
    end: int
    codec: Codec | None
    other: str = ""

    @property
    def compression(self) -> str:
        """The name of the compression."""
        return self.other or (self.codec.value if self.codec else "none")


def is_initramfs(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a cpio archive, not compressed."""
    return head.startswith(MAGICS)


def find_archives(reader: ContentReader) -> Iterator[Archive]:
    """Yield the archives of an initramfs in order.

    One of an unusual compression is the last: where it ends is not known. Raises
    DamagedVolumeError, UnsupportedError for a file that begins in no known way.
    """
    position = 0
    for _ in range(_MOST_ARCHIVES):
        position = _after_zeros(reader, position)
        if position >= reader.size:
            return
        archive = _archive(reader, position)
        yield archive
        position = archive.end
    raise UnsupportedError(f"it has more than {_MOST_ARCHIVES} archives")


def _archive(reader: ContentReader, start: int) -> Archive:
    head = reader.read(start, 8)
    if head.startswith(MAGICS):
        return Archive(start, _cpio_end(reader, start), None)
    codec = stream_codec(head)
    match codec:
        case Codec.ZSTD:
            end = zstd_frame_end(reader.read, start, reader.size, most=_MOST_BLOCKS)
        case Codec.XZ:
            end = xz_stream_end(reader, start)
        case Codec.GZIP:
            end = _gzip_end(reader, start)
        case _:
            other = next((name for magic, name in _OTHERS if head.startswith(magic)), "")
            if not other and not start:
                raise UnsupportedError("it is neither a cpio archive nor compressed as usual")
            if not other:
                raise DamagedVolumeError(f"at byte {start} there is no archive")
            return Archive(start, reader.size, None, other)
    if end > reader.size:
        raise DamagedVolumeError(f"the archive at byte {start} is cut off")
    return Archive(start, end, codec)


def _cpio_end(reader: ContentReader, start: int) -> int:
    return open_cpio(reader.content, offset=start, name=f"the archive at byte {start}").end


def _gzip_end(reader: ContentReader, start: int) -> int:
    """Return where a gzip member ends, which only decompressing it tells."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    position, done = start, 0
    while not decoder.eof:
        piece = decoder.unconsumed_tail or reader.read(position, _PIECE)
        if not decoder.unconsumed_tail:
            position += len(piece)
        if not piece:
            raise DamagedVolumeError(f"the archive at byte {start} is cut off")
        done += len(decoder.decompress(piece, 1 << 20))
        if done > _GZIP_LIMIT:
            raise UnsupportedError("an archive compressed with gzip is too large to be read")
    return position - len(decoder.unused_data)


def _after_zeros(reader: ContentReader, position: int) -> int:
    # A section of a UKI may have gigabytes of zeros that are nowhere.
    while piece := reader.read(position := reader.data_start(position), _PIECE):
        if rest := piece.lstrip(b"\0"):
            return position + len(piece) - len(rest)
        position += len(piece)
    return position


def cpio_trees(archives: Content, *, name: str) -> Iterator[Tree]:
    """Yield the trees of cpio archives after each other, not compressed; `name` is for messages.

    Raises DamagedVolumeError.
    """
    position = 0
    with ContentReader(archives) as reader:
        while (position := _after_zeros(reader, position)) < archives.size:
            opened = open_cpio(archives, offset=position, name=name)
            yield opened.tree
            position = opened.end
