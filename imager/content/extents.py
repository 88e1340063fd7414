"""The value types of a plan: content of known size, described rather than held in memory.

A `Content` is a size and a sorted list of extents; each extent names the source of its bytes.
Ranges without an extent read as zeros and are written as holes. Formats compose by placing one
content inside another (`compose`), so a blob of an image cache reaches the disk image as one
extent that still refers to the original file.

Invariants: extents are sorted by offset, non-empty, do not overlap, and end within the size.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol


class Codec(enum.Enum):
    """The compression of a stream on disk."""

    GZIP = "gzip"
    ZSTD = "zstd"
    XZ = "xz"
    # Of blocks: RFC 1950 and RFC 1951.
    ZLIB = "zlib"
    DEFLATE = "deflate"


class Fetched(Protocol):
    """A file in the network that is copied to the file `path` part by part, when it is read."""

    @property
    def path(self) -> Path:
        """The sparse file with the parts that are there; a part is at the same byte as there."""

    def fetch(self, offset: int, length: int) -> None:
        """Make sure that `length` bytes from byte `offset` on are in the file.

        Raises UnsupportedError if too much would be transferred, DependencyError if the server
        fails.
        """


@dataclass(frozen=True, slots=True)
class Data:
    """In-memory bytes of `data`, starting at `offset`: metadata, at most megabytes."""

    data: bytes
    offset: int = 0


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of the file `path`, starting at byte `offset`."""

    path: Path
    offset: int = 0


@dataclass(frozen=True, slots=True)
class StreamRange:
    """Bytes of a compressed stream, starting at byte `offset` of the decompressed data.

    The stream is `length` bytes (None: up to the end) at byte `start` of the file `path`.
    """

    path: Path
    codec: Codec
    offset: int = 0
    start: int = 0
    length: int | None = None

    @property
    def stream(self) -> StreamRange:
        """The whole stream; equal for all of its ranges."""
        return replace(self, offset=0)


@dataclass(frozen=True, slots=True)
class FetchedRange:
    """Bytes of a file in the network, starting at byte `offset`."""

    file: Fetched
    offset: int = 0


@dataclass(frozen=True, slots=True)
class BlockRange:
    """Bytes of a short compressed block, starting at byte `offset` of its decompressed data.

    `packed` is the compressed block. It is decompressed in memory as a whole, to at most `size`
    bytes.
    """

    packed: Content
    codec: Codec
    size: int
    offset: int = 0

    @property
    def block(self) -> BlockRange:
        """The whole block; equal for all of its ranges."""
        return replace(self, offset=0)


Source = Data | FileRange | StreamRange | FetchedRange | BlockRange


def advanced(source: Source, count: int) -> Source:
    """Return the source starting `count` bytes later."""
    match source:
        case Data(data, offset):
            return Data(data, offset + count)
        case FileRange(path, offset):
            return FileRange(path, offset + count)
        case StreamRange() | FetchedRange() | BlockRange():
            return replace(source, offset=source.offset + count)


@dataclass(frozen=True, slots=True)
class Extent:
    """`length` bytes at byte `offset` of the content, read from `source`."""

    offset: int
    length: int
    source: Source

    @property
    def end(self) -> int:
        """The end offset, exclusive."""
        return self.offset + self.length

    def shifted(self, distance: int) -> Extent:
        """Return the extent moved by `distance` bytes."""
        return Extent(self.offset + distance, self.length, self.source)

    def clipped(self, start: int, end: int) -> Extent:
        """Return the part of the extent within [start, end); the two must intersect."""
        first, last = max(self.offset, start), min(self.end, end)
        return Extent(first, last - first, advanced(self.source, first - self.offset))


@dataclass(frozen=True, slots=True)
class Content:
    """`size` bytes: `extents`, and zeros everywhere else."""

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
        """Return content consisting of `data`."""
        return cls(len(data), (Extent(0, len(data), Data(data)),) if data else ())

    @classmethod
    def of_source(cls, source: Source, size: int) -> Content:
        """Return content consisting of `size` bytes of `source`."""
        return cls(size, (Extent(0, size, source),) if size else ())

    @classmethod
    def of_file(cls, path: Path) -> Content:
        """Return content consisting of the file `path` at its current size."""
        return cls.of_source(FileRange(path), path.stat().st_size)

    @classmethod
    def compose(cls, size: int, placed: Iterable[tuple[int, Content]]) -> Content:
        """Return content of `size` bytes with each (offset, content) placed at its byte offset.

        Raises ValueError if two overlap or one ends past `size`.
        """
        extents = sorted(
            (extent.shifted(offset) for offset, content in placed for extent in content.extents),
            key=lambda extent: extent.offset,
        )
        return cls(size, tuple(extents))

    @classmethod
    def concat(cls, contents: Iterable[Content]) -> Content:
        """Return the concatenation of `contents`."""
        placed: list[tuple[int, Content]] = []
        size = 0
        for content in contents:
            placed.append((size, content))
            size += content.size
        return cls.compose(size, placed)

    def slice(self, start: int, length: int) -> Content:
        """Return `length` bytes starting at `start`; raises ValueError if out of range."""
        end = start + length
        if start < 0 or length < 0 or end > self.size:
            raise ValueError(f"[{start}, {end}) is outside of {self.size} bytes")
        if not length:
            return Content(0)
        first = max(bisect_right(self.extents, start, key=lambda extent: extent.offset) - 1, 0)
        return Content(length, tuple(self._clipped(first, start, end)))

    def _clipped(self, first: int, start: int, end: int) -> Iterator[Extent]:
        for index in range(first, len(self.extents)):  # a slice of the tuple would copy its rest
            extent = self.extents[index]
            if extent.offset >= end:
                return
            if extent.end > start:
                yield extent.clipped(start, end).shifted(-start)

    def padded(self, size: int) -> Content:
        """Return the content padded with zeros to `size` bytes."""
        return Content(size, self.extents)

    @property
    def data_size(self) -> int:
        """The bytes covered by extents: the maximum disk usage, holes not counted."""
        return sum(extent.length for extent in self.extents)
