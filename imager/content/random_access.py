"""Read any part of a content, in any order: headers, tables and folders of volumes in images.

Descriptors and the last decompressed pieces are kept, so that small reads close to each other are
cheap whatever the content consists of.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path

from imager.content.compression import StreamReader
from imager.content.extents import (
    BlockRange,
    Content,
    Data,
    Extent,
    FetchedRange,
    FileRange,
    StreamRange,
)
from imager.content.reading import Blocks, shorter
from imager.content.recent import kept
from imager.support.errors import InputError

_MOST_FILES = 8
_MOST_STREAMS = 4
_PIECE = 128 << 10
_MOST_PIECES = 64


def file_content(path: Path) -> Content:
    """Return the content of a file or block device at its current size; raises OSError."""
    with path.open("rb") as file:
        # A device has no st_size.
        return Content.of_source(FileRange(path), file.seek(0, os.SEEK_END))


def as_content(source: Path | Content) -> Content:
    """Return `source` itself, or the content of the file or device at a path; raises OSError."""
    return source if isinstance(source, Content) else file_content(source)


class ContentReader:
    """Reads parts of a content; a context that closes the files it opened."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self._files: OrderedDict[Path, int] = OrderedDict()
        self._streams: OrderedDict[StreamRange, StreamReader] = OrderedDict()
        self._pieces: OrderedDict[tuple[StreamRange, int, int], bytes] = OrderedDict()
        self._blocks = Blocks()

    def __enter__(self) -> ContentReader:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            os.close(self._files.popitem()[1])
        while self._streams:
            self._streams.popitem()[1].__exit__(None, None, None)

    @property
    def size(self) -> int:
        """The size of the content in bytes."""
        return self.content.size

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from byte `offset` on, fewer at the end of the content.

        Raises InputError when a source is damaged or shorter than the content says, OSError when
        it cannot be read.
        """
        end = min(offset + length, self.size)
        if end <= offset:
            return b""
        extents = self.content.extents
        index = max(bisect_right(extents, offset, key=lambda extent: extent.offset) - 1, 0)
        parts: list[bytes] = []
        position = offset
        while index < len(extents) and extents[index].offset < end:
            extent = extents[index]
            index += 1
            if extent.end <= position:
                continue
            start, stop = max(extent.offset, position), min(extent.end, end)
            if start > position:
                parts.append(bytes(start - position))
            parts.append(self._read(extent, start - extent.offset, stop - start))
            position = stop
        if position < end:
            parts.append(bytes(end - position))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def data_start(self, offset: int) -> int:
        """Return the first byte from `offset` on that an extent covers, or the size."""
        extents = self.content.extents
        index = bisect_right(extents, offset, key=lambda extent: extent.end)
        return max(extents[index].offset, offset) if index < len(extents) else self.size

    def _read(self, extent: Extent, distance: int, length: int) -> bytes:
        match extent.source:
            case Data(data, start):
                return data[start + distance : start + distance + length]
            case FileRange(path, start):
                return self._read_file(path, start + distance, length)
            case FetchedRange(file, start):
                file.fetch(start + distance, length)
                return self._read_file(file.path, start + distance, length)
            case StreamRange(offset=start, stream=stream):
                # What follows the extent in its stream may not be part of it.
                return self._read_stream(stream, start + distance, length, start + extent.length)
            case BlockRange() as block:
                return self._blocks.read(block, distance, length)

    def _read_file(self, path: Path, offset: int, length: int) -> bytes:
        descriptor = kept(
            self._files,
            path,
            lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC),
            most=_MOST_FILES,
            drop=os.close,
        )
        parts: list[bytes] = []
        while length:
            part = os.pread(descriptor, length, offset)
            if not part:
                raise shorter(path)
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_stream(self, stream: StreamRange, offset: int, length: int, end: int) -> bytes:
        first, last = offset // _PIECE, (offset + length - 1) // _PIECE
        data = b"".join(
            self._piece(stream, number, min(end - number * _PIECE, _PIECE))
            for number in range(first, last + 1)
        )
        start = offset - first * _PIECE
        if len(data) < start + length:
            raise InputError(f"{stream.path}: a compressed part is shorter than its tables say")
        return data[start : start + length]

    def _piece(self, stream: StreamRange, number: int, size: int) -> bytes:
        def decoded() -> bytes:
            reader = kept(
                self._streams,
                stream,
                lambda: StreamReader.of(stream),
                most=_MOST_STREAMS,
                drop=lambda old: old.__exit__(None, None, None),
            )
            reader.seek_forward(number * _PIECE)
            return reader.read(size)

        return kept(self._pieces, (stream, number, size), decoded, most=_MOST_PIECES)
