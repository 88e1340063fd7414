"""Compress a disk in pieces of 64 KiB (grains) on all cores, for VMDK.

Every grain is a zlib stream (RFC 1950) of its own, so the result does not depend on the number of
threads. zlib-ng gives the same bytes on every processor, which ISA-L does not.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import zstandard
from zlib_ng import zlib_ng

from imager.content.extents import Content
from imager.content.reading import iterate_content
from imager.support.reporter import Advance
from imager.support.units import KIB, MIB
from imager.support.workers import worker_pool

GRAIN = 64 * KIB
# Three per cent larger than the best level of zlib, and seven times as fast.
_LEVEL = 6
# What a thread gets at once: large enough to make its start negligible.
_BATCH = 1 * MIB
# Batches that wait for a thread, for each thread.
_AHEAD = 2
_ZEROS = bytes(GRAIN)
# A grain that loses less than this share of its size counts as compressed already, and is stored.
_LEAST_GAIN = 32
_LONGEST_STORED = 0xFFFF


@dataclass(frozen=True, slots=True)
class Grain:
    """Grain `number` of a disk, as a zlib stream of 64 KiB."""

    number: int
    stream: bytes


@dataclass(frozen=True, slots=True)
class _Batch:
    """Consecutive grains, from grain `first` on."""

    first: int
    data: bytearray


def compress_grains(disk: Content, *, jobs: int, progress: Advance) -> Iterator[list[Grain]]:
    """Yield the grains of `disk` that are not zero, in order, several at a time.

    The last one is padded with zeros. `progress` is called with the number of extent bytes read
    since the last call. Raises like `iterate_content`.
    """
    with worker_pool(jobs, "grains") as pool:
        running: deque[Future[list[Grain]]] = deque()
        for batch in _batches(disk, progress):
            running.append(pool.submit(_compressed, batch))
            if len(running) > jobs * _AHEAD:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _batches(disk: Content, progress: Advance) -> Iterator[_Batch]:
    """Yield the batches that have data; a batch that is a hole as a whole is left out."""
    position = 0
    batch = _Batch(0, bytearray())
    for piece in iterate_content(disk):
        if isinstance(piece, int):
            position += piece
            continue
        view = memoryview(piece)
        while view:
            first = position // _BATCH * (_BATCH // GRAIN)
            if not batch.data or first != batch.first:
                if batch.data:
                    yield batch
                batch = _Batch(first, bytearray(_BATCH))
            at = position % _BATCH
            count = min(len(view), _BATCH - at)
            batch.data[at : at + count] = view[:count]
            position += count
            view = view[count:]
        progress(len(piece))
    if batch.data:
        yield batch


def _compressed(batch: _Batch) -> list[Grain]:
    view = memoryview(batch.data)
    # Most of a disk is compressed already, which this finds out 50 times as fast as zlib.
    judge = zstandard.ZstdCompressor(level=1)
    return [
        Grain(batch.first + start // GRAIN, _stream(view[start : start + GRAIN], judge))
        for start in range(0, _BATCH, GRAIN)
        if not batch.data.startswith(_ZEROS, start)
    ]


def _stream(grain: memoryview, judge: zstandard.ZstdCompressor) -> bytes:
    if len(judge.compress(grain)) < GRAIN - GRAIN // _LEAST_GAIN:
        return zlib_ng.compress(grain, _LEVEL)
    return _stored(grain)


def _stored(data: memoryview) -> bytes:
    """Return `data` in stored blocks (RFC 1951, 3.2.4)."""
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for start in range(0, len(data), _LONGEST_STORED):
        block = data[start : start + _LONGEST_STORED]
        last = start + len(block) == len(data)
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join((*parts, struct.pack(">I", zlib_ng.adler32(data))))
