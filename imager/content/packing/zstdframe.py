"""Compress a content to Zstandard (RFC 8878): one frame with its size and a checksum.

libzstd compresses the runs of data on all cores, each to a frame of which only the blocks are
taken. Holes become blocks of one repeated byte, which cost nothing. Blocks may refer to the
offsets of the last three matches, the repeat offsets (3.1.1.5), and libzstd begins every frame
with those of the specification. So each hole ends with two blocks that restore them.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from functools import cache

import xxhash
import zstandard

from imager.content.extents import Content
from imager.content.packing.chunks import CHUNK, Packed, chunks

# Blobs are compressed already: level 18 of Talos saves 0.3 % of a disk and takes 20 times as long.
_LEVEL = 3
# The smallest that libzstd accepts: its buffers, several for each core, are most of the memory of a
# build. Jobs of 2 MiB save 0.7 % of executables.
_JOB_SIZE = 512 << 10
_ZEROS = bytes(CHUNK)
# Magic number, descriptor and window descriptor, as libzstd begins a frame of unknown size.
_LIBRARY_HEADER = 6
_BLOCK_HEADER = 3
_LONGEST_BLOCK = 128 << 10
_RAW, _RLE, _COMPRESSED = range(3)
_MAGIC = 0xFD2FB528
# A content size of 8 bytes, and a checksum.
_FRAME_FLAGS = 0xC4
# Two blocks of eight literal zeros (41 00) and one and two sequences (01, 02), whose codes are
# repeated (54): first the lengths of literals, the offset and the match, then extra bits. After
# them the repeat offsets are 1, 4 and 8, as at the start of a frame. All matches are three zeros.
_SET_8 = bytes.fromhex("4100 01 54 080300 0b")
_SET_4_AND_1 = bytes.fromhex("4100 02 54 040200 1c")
_SET_8_SIZE, _SET_4_AND_1_SIZE = 8 + 3, 4 + 3 + 4 + 3
_RESTORING_SIZE = _SET_8_SIZE + _SET_4_AND_1_SIZE


def pack_zstd(content: Content, *, threads: int) -> Generator[Packed, None, None]:
    """Yield the content as Zstandard; raises like `iterate_content`.

    Every number of `threads` from 1 gives the same bytes; libzstd runs them.
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, threads=threads, job_size=_JOB_SIZE, write_content_size=False
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    yield Packed(_frame_header(parameters.window_log, content.size))
    checksum = xxhash.xxh64()
    run: _Run | None = None
    for chunk in chunks(content):
        checksum.update(_ZEROS[: chunk.size] if chunk.data is None else chunk.data)
        if chunk.data is not None:
            run = run or _Run(compressor)
            yield Packed(run.blocks(chunk.data), chunk.covered)
            continue
        if run:
            yield Packed(run.last_blocks())
            run = None
        yield Packed(_hole(chunk.size), chunk.covered)
    if run:
        yield Packed(run.last_blocks())
    yield Packed(_block_header(_RAW, 0, last=True) + checksum.digest()[:3:-1])


def _frame_header(window_log: int, size: int) -> bytes:
    return struct.pack("<IBBQ", _MAGIC, _FRAME_FLAGS, window_log - 10 << 3, size)


def _block_header(kind: int, size: int, *, last: bool = False) -> bytes:
    return (size << 3 | kind << 1 | last).to_bytes(_BLOCK_HEADER, "little")


@cache
def _hole(size: int) -> bytes:
    """Return blocks of `size` zeros, after which the repeat offsets are those of a new frame.

    Less than 25 zeros do not change them; these are at the end of a content.
    """
    if size < _RESTORING_SIZE:
        return b"".join(_repeated_zeros(size))
    restoring = (
        _block_header(_COMPRESSED, len(_SET_8)) + _SET_8,
        _block_header(_COMPRESSED, len(_SET_4_AND_1)) + _SET_4_AND_1,
    )
    return b"".join((*_repeated_zeros(size - _RESTORING_SIZE), *restoring))


def _repeated_zeros(size: int) -> Iterator[bytes]:
    for start in range(0, size, _LONGEST_BLOCK):
        yield _block_header(_RLE, min(_LONGEST_BLOCK, size - start)) + b"\0"


class _Run:
    """The blocks of one run of data, from a frame that libzstd makes of it."""

    def __init__(self, compressor: zstandard.ZstdCompressor) -> None:
        self._frame = compressor.compressobj()
        self._packed = bytearray()
        self._skip = _LIBRARY_HEADER

    def blocks(self, data: bytes) -> bytes:
        """Return the blocks that are finished, after `data` was added."""
        return self._finished(self._frame.compress(data))

    def last_blocks(self) -> bytes:
        """Return the remaining blocks."""
        return self._finished(self._frame.flush())

    def _finished(self, packed: bytes) -> bytes:
        """Return the whole blocks of the frame so far, none marked as the last of its frame."""
        self._packed += packed
        if len(self._packed) < self._skip:
            return b""
        start, self._skip = self._skip, 0
        end = start
        while (after := self._end_of_block(end)) <= len(self._packed):
            self._packed[end] &= ~1
            end = after
        blocks = bytes(self._packed[start:end])
        del self._packed[:end]
        return blocks

    def _end_of_block(self, start: int) -> int:
        header = int.from_bytes(self._packed[start : start + _BLOCK_HEADER], "little")
        size = 1 if header >> 1 & 3 == _RLE else header >> 3
        return start + _BLOCK_HEADER + size
