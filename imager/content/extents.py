"""The plan's value types: content of exactly known size, described and not held.

A `Content` is a size and an ordered list of extents; each extent says where its bytes come
from. What no extent covers reads as zeros and is written as a hole. Formats compose by placing
one content inside another (`compose`), so a blob of an image cache reaches the disk image as one
extent that still points at the file it came from.

Invariants: extents are sorted by offset, not empty, do not overlap, and end within the size.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path


class Codec(enum.Enum):
    """How a stream on disk is compressed."""

    GZIP = "gzip"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes held in memory, from `offset` in `data` on: metadata, at most megabytes."""

    data: bytes
    offset: int = 0


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of the file `path` from byte `offset` on."""

    path: Path
    offset: int = 0


@dataclass(frozen=True, slots=True)
class StreamRange:
    """Bytes of a compressed stream, from byte `offset` of what it decompresses to on.

    The stream is `length` bytes (None: all that follow) of the file `path` from byte `start` on.
    """

    path: Path
    codec: Codec
    offset: int = 0
    start: int = 0
    length: int | None = None

    @property
    def stream(self) -> StreamRange:
        """The whole stream: equal for all ranges of it."""
        return replace(self, offset=0)


Source = Data | FileRange | StreamRange


def advanced(source: Source, count: int) -> Source:
    """Return the source that begins `count` bytes later."""
    match source:
        case Data(data, offset):
            return Data(data, offset + count)
        case FileRange(path, offset):
            return FileRange(path, offset + count)
        case StreamRange():
            return replace(source, offset=source.offset + count)


@dataclass(frozen=True, slots=True)
class Extent:
    """`length` bytes at `offset` bytes, taken from `source`."""

    offset: int
    length: int
    source: Source

    @property
    def end(self) -> int:
        """The byte after the last one."""
        return self.offset + self.length

    def shifted(self, distance: int) -> Extent:
        """Return the extent moved by `distance` bytes."""
        return Extent(self.offset + distance, self.length, self.source)

    def clipped(self, start: int, end: int) -> Extent:
        """Return the part of the extent inside [start, end); the two must intersect."""
        first, last = max(self.offset, start), min(self.end, end)
        return Extent(first, last - first, advanced(self.source, first - self.offset))


@dataclass(frozen=True, slots=True)
class Content:
    """`size` bytes: `extents`, and zeros between them."""

    size: int
    extents: tuple[Extent, ...] = ()

    def __post_init__(self) -> None:
        end = 0
        for extent in self.extents:
            if extent.length <= 0 or extent.offset < end:
                raise ValueError(f"extent at {extent.offset} overlaps or is empty")
            end = extent.end
        if end > self.size:
            raise ValueError(f"extents end at {end}, past the size {self.size}")

    @classmethod
    def of_bytes(cls, data: bytes) -> Content:
        """Return content that is `data`."""
        return cls(len(data), (Extent(0, len(data), Data(data)),) if data else ())

    @classmethod
    def of_source(cls, source: Source, size: int) -> Content:
        """Return content that is `size` bytes of `source`."""
        return cls(size, (Extent(0, size, source),) if size else ())

    @classmethod
    def of_file(cls, path: Path) -> Content:
        """Return content that is the whole file `path`, at its present size."""
        return cls.of_source(FileRange(path), path.stat().st_size)

    @classmethod
    def compose(cls, size: int, placed: Iterable[tuple[int, Content]]) -> Content:
        """Return `size` bytes of content with each (offset, content) at its offset in bytes.

        Raises ValueError where two overlap or one ends past `size`.
        """
        extents = sorted(
            (extent.shifted(offset) for offset, content in placed for extent in content.extents),
            key=lambda extent: extent.offset,
        )
        return cls(size, tuple(extents))

    @classmethod
    def concat(cls, contents: Iterable[Content]) -> Content:
        """Return `contents` one after another."""
        placed: list[tuple[int, Content]] = []
        size = 0
        for content in contents:
            placed.append((size, content))
            size += content.size
        return cls.compose(size, placed)

    def slice(self, start: int, length: int) -> Content:
        """Return the `length` bytes from `start` on; raises ValueError when they are not there."""
        end = start + length
        if start < 0 or length < 0 or end > self.size:
            raise ValueError(f"[{start}, {end}) is outside of {self.size} bytes")
        if not length:
            return Content(0)
        first = max(bisect_right(self.extents, start, key=lambda extent: extent.offset) - 1, 0)
        return Content(length, tuple(self._clipped(first, start, end)))

    def _clipped(self, first: int, start: int, end: int) -> Iterator[Extent]:
        for extent in self.extents[first:]:
            if extent.offset >= end:
                return
            if extent.end > start:
                yield extent.clipped(start, end).shifted(-start)

    def padded(self, size: int) -> Content:
        """Return the content followed by zeros up to `size` bytes."""
        return Content(size, self.extents)

    @property
    def data_size(self) -> int:
        """The bytes that extents cover: what a disk must hold at most, holes not counted."""
        return sum(extent.length for extent in self.extents)
