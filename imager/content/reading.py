"""Read the sources of a content: files without their holes, compressed streams sequentially."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from imager.content.blocks import decompress_block
from imager.content.compression import StreamReader, codec_of
from imager.content.extents import (
    BlockRange,
    Codec,
    Content,
    Data,
    Fetched,
    FetchedRange,
    FileRange,
    Source,
    StreamRange,
)
from imager.content.recent import kept
from imager.content.tree import File
from imager.support.errors import InputError, OutputError

# Small enough for smooth progress.
CHUNK = 1 << 20
_ZEROS = bytes(CHUNK)
# The bytes that tell a compression.
_MAGIC = 4
_SHORT_STREAM = 4 << 20
# The bytes of decompressed blocks that are kept.
_KEPT = 8 << 20


class Blocks:
    """Reads compressed blocks, and keeps the last ones: small files share a block."""

    def __init__(self) -> None:
        self._kept: OrderedDict[BlockRange, bytes] = OrderedDict()

    def read(self, source: BlockRange, distance: int, length: int) -> bytes:
        """Return `length` bytes from byte `distance` of a range on.

        Raises InputError if the block is damaged or shorter, OSError if it cannot be read.
        """
        block = source.block
        most = max(_KEPT // max(block.size, 1), 1)
        data = kept(self._kept, block, lambda: read_block(block, self), most=most)
        start = source.offset + distance
        if start + length > len(data):
            raise InputError("a compressed block is shorter than its tables say")
        return data[start : start + length]


def read_block(block: BlockRange, blocks: Blocks) -> bytes:
    """Return all bytes of a compressed block, which may be in other `blocks`.

    Raises InputError if it is damaged.
    """
    packed = b"".join(iterate_bytes(block.packed, blocks=blocks))
    return decompress_block(packed, block.codec, block.size)


def iterate_content(
    content: Content, *, chunk: int = CHUNK, blocks: Blocks | None = None
) -> Iterator[bytes | int]:
    """Yield the content in order: bytes, or the length of a hole as an int.

    Raises InputError when a source is shorter than planned. A compressed source is decompressed
    again from its start if its ranges are not in stream order. `blocks` are those of a pass over
    several contents.
    """
    position = 0
    with Sources(blocks) as sources, ExitStack() as stack:
        streams: dict[StreamRange, StreamReader] = {}
        for extent in content.extents:
            if extent.offset > position:
                yield extent.offset - position
            match extent.source:
                case Data(data, offset):
                    yield data[offset : offset + extent.length]
                case FileRange(path, offset):
                    yield from sources.read(path, offset, extent.length, chunk)
                case FetchedRange(file, offset):
                    yield from sources.fetch(file, offset, extent.length, chunk)
                case StreamRange(offset=offset, stream=stream):
                    if stream not in streams:
                        streams[stream] = stack.enter_context(StreamReader.of(stream))
                    yield from read_stream(streams[stream], offset, extent.length, chunk)
                case BlockRange() as block:
                    yield sources.blocks.read(block, 0, extent.length)
            position = extent.end
    if content.size > position:
        yield content.size - position


def iterate_bytes(content: Content, *, blocks: Blocks | None = None) -> Iterator[bytes]:
    """Yield the content in order with holes as zeros; see `iterate_content`."""
    for piece in iterate_content(content, blocks=blocks):
        if isinstance(piece, bytes):
            yield piece
        else:
            yield from zeros(piece)


def read_content(content: Content) -> bytes:
    """Return the bytes of a small content; raises like `iterate_content`."""
    return b"".join(iterate_bytes(content))


def content_codec(content: Content) -> Codec | None:
    """Return the compression of `content` by its first bytes, or None if uncompressed."""
    return codec_of(read_content(content.slice(0, min(content.size, _MAGIC))))


def hash_content(content: Content, hash_name: str = "sha256") -> bytes:
    """Return the hash of a content of any size; raises like `iterate_content`."""
    found = hashlib.new(hash_name)
    for piece in iterate_bytes(content):
        found.update(piece)
    return found.digest()


def read_file(file: File, limit: int) -> bytes | None:
    """Return a file's bytes; None if larger than `limit`, or in a long stream and not kept."""
    if file.data is not None or file.content.size > limit:
        return file.data
    streamed = any(is_in_long_stream(extent.source) for extent in file.content.extents)
    return None if streamed else read_content(file.content)


def is_in_long_stream(source: Source) -> bool:
    """Return whether reading `source` may decompress much; a cluster of a disk image is short."""
    if not isinstance(source, StreamRange):
        return False
    return source.length is None or source.length > _SHORT_STREAM


def read_start(path: Path, length: int, *, offset: int = 0) -> bytes:
    """Return `length` bytes of a file starting at byte `offset`, fewer at the end of the file.

    Raises InputError when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def zeros(size: int) -> Iterator[bytes]:
    """Yield `size` zero bytes in chunks of at most 1 MiB."""
    for start in range(0, size, CHUNK):
        yield _ZEROS[: size - start]


def read_stream(reader: StreamReader, offset: int, length: int, chunk: int) -> Iterator[bytes]:
    """Yield `length` bytes of the stream from byte `offset`, in chunks of at most `chunk` bytes.

    Raises InputError when the stream is shorter.
    """
    reader.seek_forward(offset)
    while length:
        piece = reader.read(min(chunk, length))
        if not piece:
            raise InputError("a compressed layer is shorter than it was when it was planned")
        length -= len(piece)
        yield piece


def shorter(path: Path) -> InputError:
    """Return the error for a source that has shrunk since it was planned."""
    return InputError(
        f"{path} is shorter than it was when it was planned",
        hint="let nothing write to the inputs during a build, then run it again",
    )


class Sources:
    """The source files of one pass; keeps one open, since extents of a file are adjacent.

    `blocks` may be shared with other passes.
    """

    def __init__(self, blocks: Blocks | None = None) -> None:
        self.blocks = blocks or Blocks()
        self._path: Path | None = None
        self._descriptor = -1

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        # Reset the field first: a signal may interrupt this function, which then runs again.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def open(self, path: Path) -> int:
        """Return a descriptor of `path`, valid until the next call with another path."""
        if path != self._path:
            self._close()
            try:
                self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise OutputError(f"cannot read {path}: {error.strerror}") from error
            self._path = path
        return self._descriptor

    def data_ranges(self, path: Path, offset: int, length: int) -> list[tuple[int, int]]:
        """Return the (start, length), in bytes, of the data (non-hole) regions in a file range."""
        ranges = list(_data_ranges(self.open(path), offset, offset + length))
        if os.lseek(self._descriptor, 0, os.SEEK_END) < offset + length:  # a device has no st_size
            raise shorter(path)
        return ranges

    def fetch(self, file: Fetched, offset: int, length: int, chunk: int) -> Iterator[bytes | int]:
        """Yield a range of a file in the network as `read` does."""
        for start in range(offset, offset + length, chunk):
            part = min(chunk, offset + length - start)
            file.fetch(start, part)
            yield from self.read(file.path, start, part, chunk)

    def read(self, path: Path, offset: int, length: int, chunk: int) -> Iterator[bytes | int]:
        """Yield the file range as bytes and hole lengths."""
        position, end = offset, offset + length
        for start, size in self.data_ranges(path, offset, length):
            if start > position:
                yield start - position
            position = start
            while position < start + size:
                piece = os.pread(self.open(path), min(chunk, start + size - position), position)
                if not piece:
                    raise shorter(path)
                position += len(piece)
                yield piece
        if end > position:
            yield end - position


def _data_ranges(descriptor: int, offset: int, end: int) -> Iterator[tuple[int, int]]:
    while offset < end:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # SEEK_DATA is unsupported here: treat all as data
                yield offset, end - offset
            return
        if start >= end:
            return
        hole = min(os.lseek(descriptor, start, os.SEEK_HOLE), end)
        yield start, hole - start
        offset = hole
