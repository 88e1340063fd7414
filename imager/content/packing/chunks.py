"""Cut a content into chunks, and compress them on all cores in their order.

The compressed form of a chunk depends on nothing but its bytes, so that the output is the same
for any number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import zstandard

from imager.content.extents import Content
from imager.content.reading import iterate_content
from imager.support.units import MIB
from imager.support.workers import worker_pool

# As `xz -0 -T0` has it. Every partition starts at a multiple of it.
CHUNK = MIB
# Data that loses less than this share of its size counts as compressed already.
_LEAST_GAIN = 32
_Part = TypeVar("_Part")


class Packed(NamedTuple):
    """The next bytes of an output; `covered` bytes of extents went into them."""

    data: bytes
    covered: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """`size` bytes of a content: `data`, or zeros if it is None; `covered` are in extents."""

    size: int
    covered: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class PackedChunk(Generic[_Part]):
    """A chunk of `size` bytes, `covered` of them in extents, as the compressed `part`."""

    size: int
    covered: int
    part: _Part


def chunks(content: Content) -> Iterator[Chunk]:
    """Yield the content in chunks of 1 MiB, the last one shorter; raises like `iterate_content`."""
    start = 0
    parts: list[memoryview | int] = []
    missing = min(CHUNK, content.size)
    for piece in iterate_content(content):
        rest: memoryview | int = piece if isinstance(piece, int) else memoryview(piece)
        while length := _length(rest):
            count = min(length, missing)
            part, rest = _split(rest, count)
            parts.append(part)
            missing -= count
            if not missing:
                yield _chunk(content, start, parts)
                start, parts = start + CHUNK, []
                missing = min(CHUNK, content.size - start)


def _length(piece: memoryview | int) -> int:
    return piece if isinstance(piece, int) else len(piece)


def _split(piece: memoryview | int, at: int) -> tuple[memoryview | int, memoryview | int]:
    if isinstance(piece, int):
        return at, piece - at
    return piece[:at], piece[at:]


def _chunk(content: Content, start: int, parts: list[memoryview | int]) -> Chunk:
    size = sum(map(_length, parts))
    return Chunk(size, content.slice(start, size).data_size, _joined(parts, size))


def _joined(parts: list[memoryview | int], size: int) -> bytes | None:
    """Return the bytes of `parts`, or None if all are zero."""
    if all(isinstance(part, int) for part in parts):
        return None
    data = b"".join(bytes(part) if isinstance(part, int) else part for part in parts)
    return None if data == bytes(size) else data


def packed_chunks(
    content: Content, pack: Callable[[bytes], _Part], *, threads: int
) -> Generator[PackedChunk[_Part], None, None]:
    """Yield each chunk of the content, compressed by `pack` in one of `threads` threads.

    The order is that of the content. At most two chunks for each thread are in memory. Chunks of
    zeros are compressed once. Raises like `iterate_content`.
    """
    with worker_pool(threads, "pack") as pool:
        packing = _Packing(pool, pack)
        waiting: deque[tuple[Chunk, Future[_Part]]] = deque()
        for chunk in chunks(content):
            waiting.append(packing.start(chunk))
            if len(waiting) >= 2 * threads:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())


@dataclass(frozen=True, slots=True)
class _Packing(Generic[_Part]):
    pool: ThreadPoolExecutor
    pack: Callable[[bytes], _Part]
    zeros: dict[int, Future[_Part]] = field(default_factory=dict)

    def start(self, chunk: Chunk) -> tuple[Chunk, Future[_Part]]:
        """Start to compress a chunk; chunks of as many zeros share one result."""
        if chunk.data is not None:
            return chunk, self.pool.submit(self.pack, chunk.data)
        if chunk.size not in self.zeros:
            self.zeros[chunk.size] = self.pool.submit(self.pack, bytes(chunk.size))
        return chunk, self.zeros[chunk.size]


def _finished(chunk: Chunk, part: Future[_Part]) -> PackedChunk[_Part]:
    return PackedChunk(chunk.size, chunk.covered, part.result())


def compresses(data: bytes) -> bool:
    """Return whether `data` becomes smaller, by a compressor that is fast to find out."""
    packed = zstandard.ZstdCompressor(level=1).compress(data)
    return len(packed) < len(data) - len(data) // _LEAST_GAIN
