"""Cut a content into chunks, and compress them on all cores in their order.

The compressed form of a chunk depends on nothing but its bytes, so that the output is the same
for any number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
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
    for chunk in _chunks_and_holes(content):
        yield from _cut(chunk)


def _cut(chunk: Chunk) -> Iterator[Chunk]:
    """Yield a chunk; a longer hole as chunks, the first of which has all that is covered."""
    yield replace(chunk, size=min(chunk.size, CHUNK))
    for start in range(CHUNK, chunk.size, CHUNK):
        yield Chunk(min(CHUNK, chunk.size - start), 0, None)


def _chunks_and_holes(content: Content) -> Iterator[Chunk]:
    """Yield the content in chunks of 1 MiB, but consecutive chunks of a hole as one."""
    start = 0
    parts: list[memoryview | int] = []
    missing = min(CHUNK, content.size)
    for piece in iterate_content(content):
        rest: memoryview | int = piece if isinstance(piece, int) else memoryview(piece)
        while length := _length(rest):
            if isinstance(rest, int) and not parts:
                missing = max(length // CHUNK * CHUNK, missing)
            count = min(length, missing)
            part, rest = _split(rest, count)
            parts.append(part)
            missing -= count
            if not missing:
                chunk = _chunk(content, start, parts)
                yield chunk
                start, parts = start + chunk.size, []
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

    Chunks of zeros are compressed once. Otherwise as `packed_data`.
    """
    pack_zeros = cache(lambda size: pack(bytes(size)))
    with closing(_in_order(content, pack, threads)) as packed:
        for chunk, part in packed:
            if part is not None:
                yield PackedChunk(chunk.size, chunk.covered, part.result())
                continue
            for hole in _cut(chunk):
                yield PackedChunk(hole.size, hole.covered, pack_zeros(hole.size))


def packed_data(
    content: Content, pack: Callable[[bytes], _Part], *, threads: int
) -> Generator[PackedChunk[_Part | None], None, None]:
    """Yield each chunk of the content; `part` is None for zeros, and a hole is one chunk.

    `pack` compresses the others in one of `threads` threads. The order is that of the content. At
    most two chunks for each thread are in memory. Raises like `iterate_content`.
    """
    with closing(_in_order(content, pack, threads)) as packed:
        for chunk, part in packed:
            yield PackedChunk(chunk.size, chunk.covered, part.result() if part else None)


def _in_order(
    content: Content, pack: Callable[[bytes], _Part], threads: int
) -> Generator[tuple[Chunk, Future[_Part] | None], None, None]:
    with worker_pool(threads, "pack") as pool:
        waiting: deque[tuple[Chunk, Future[_Part] | None]] = deque()
        for chunk in _chunks_and_holes(content):
            data = chunk.data
            waiting.append((chunk, None if data is None else pool.submit(pack, data)))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft()
        yield from waiting


class Judge:
    """Tells whether data become smaller, by a compressor that is fast to find out.

    Each thread needs its own.
    """

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=1)

    def compresses(self, data: bytes | memoryview) -> bool:
        """Return whether `data` becomes smaller."""
        packed = self._compressor.compress(data)
        return len(packed) < len(data) - len(data) // _LEAST_GAIN


def compresses(data: bytes) -> bool:
    """Return whether `data` becomes smaller; see Judge."""
    return Judge().compresses(data)
