"""Verify digests during a copy: other cores hash the sources while they are copied.

Each part of a source file is read once, and each compressed stream is decompressed once;
overlapping checks (a layer, and the blobs inside it) share the bytes and run in parallel. Blobs
split over several extents, as in an image's file system, are read extent by extent.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from imager.content.compression import StreamReader
from imager.content.extents import Content, Extent, FileRange, StreamRange
from imager.content.reading import iterate_bytes
from imager.support.errors import Fail, ImagerError, InputError, OutputError, stop_at
from imager.support.workers import Cancel, CancelledError, Work

if TYPE_CHECKING:
    from hashlib import _Hash

# It stays in a core's cache between the read and the hash.
_CHUNK = 256 << 10
# Returns at most so many bytes from an offset; they are valid until the next call.
_ReadAt = Callable[[int, int], "memoryview | bytes"]


@dataclass(frozen=True, slots=True)
class Check:
    """A check that `content` has the SHA-256 `sha256` (hex)."""

    what: str
    content: Content
    sha256: str

    @property
    def source(self) -> FileRange | StreamRange | None:
        """The range if the content is exactly one of a file or stream, else None (split, empty)."""
        match self.content.extents:
            case (Extent(0, self.content.size, FileRange() | StreamRange() as source),):
                return source
        return None


@dataclass(slots=True)
class _Running:
    """A running check of one range of a file or stream, which starts at `source`."""

    check: Check
    source: FileRange | StreamRange
    hash: _Hash = field(default_factory=hashlib.sha256)

    @property
    def end(self) -> int:
        """The end offset in the file or stream, exclusive."""
        return self.source.offset + self.check.content.size

    @property
    def whole(self) -> FileRange | StreamRange:
        """The file or stream; equal for all of its ranges."""
        return replace(self.source, offset=0)


@contextmanager
def checking(checks: Sequence[Check]) -> Iterator[Callable[[], None]]:
    """Run `checks` in the background during the block, and wait for them at its end.

    Yields a function that raises InputError if a check has failed; leaving the block raises it
    too. When the block itself fails, the checks are cancelled.
    """
    with ThreadPoolExecutor(1, "check") as pool, Cancel() as cancel:
        running: Future[None] = pool.submit(run_checks, checks, cancel=cancel)

        def raise_failed() -> None:
            if running.done():
                running.result()

        yield raise_failed
        running.result()


def run_checks(checks: Sequence[Check], *, cancel: Cancel | None = None) -> None:
    """Run all checks; raises InputError at the first mismatch."""
    with ThreadPoolExecutor(1, "hash") as pool, suppress(CancelledError):
        hasher = _Hasher(pool, Work(cancel=cancel))
        for check in _grouped(checks, hasher):
            check(stop_at)


def failed_checks(
    checks: Sequence[Check], *, jobs: int, progress: Callable[[int], None]
) -> tuple[ImagerError, ...]:
    """Run all checks, `jobs` in parallel; return the failures, sorted by place.

    Checks that overlap, and those of one stream, run together: their bytes are read once.

    Contents split over several extents are checked last, one by one.

    `progress` is called with the bytes hashed since its last call, by one thread at a time; the
    sum is the total length of all readable checks.
    """
    work = Work(progress)
    with ThreadPoolExecutor(jobs, "hash") as pool:
        hasher = _Hasher(pool, work)
        found = work.run(_failures, _grouped(checks, hasher), jobs=jobs, what="checks")
    return tuple(failure for each in found for failure in each)


def _grouped(checks: Sequence[Check], hasher: _Hasher) -> Iterator[Callable[[Fail], None]]:
    """Yield a function for the checks of each part of a file and each stream, then for the rest."""
    placed = [_Running(check, check.source) for check in checks if check.source is not None]
    placed.sort(key=_position)
    for source, group in groupby(placed, key=lambda running: running.whole):
        for together in _overlapping(source, group):
            yield partial(_check_ranges, source, together, hasher)
    for check in checks:
        if check.source is None:
            yield partial(_check_scattered, check, hasher)


def _overlapping(
    source: FileRange | StreamRange, checks: Iterable[_Running]
) -> Iterator[list[_Running]]:
    """Yield the checks, sorted by offset, that must be run together; all of a stream."""
    found: list[_Running] = []
    end = 0
    for check in checks:
        if found and isinstance(source, FileRange) and check.source.offset >= end:
            yield found
            found = []
        found.append(check)
        end = max(end, check.end)
    if found:
        yield found


def _position(running: _Running) -> tuple[str, int, int]:
    source = running.source
    start = source.start if isinstance(source, StreamRange) else -1
    return str(source.path), start, source.offset


def _failures(check: Callable[[Fail], None]) -> list[ImagerError]:
    failures: list[ImagerError] = []
    try:
        check(failures.append)
    except ImagerError as error:
        failures.append(error)
    return failures


def _check_ranges(
    source: FileRange | StreamRange, checks: list[_Running], hasher: _Hasher, fail: Fail
) -> None:
    """Run the checks of ranges of the file or stream `source`, which are sorted by offset."""
    boundaries = sorted({edge for check in checks for edge in (check.source.offset, check.end)})
    waiting = list(reversed(checks))
    active: list[_Running] = []
    with _reading(source, min(_CHUNK, boundaries[-1] - boundaries[0])) as read:
        for start, end in zip(boundaries, [*boundaries[1:], boundaries[-1]], strict=True):
            _finish(active, start, fail)
            while waiting and waiting[-1].source.offset == start:
                active.append(waiting.pop())
            _finish(active, start, fail)
            if active:
                hasher.feed(read, range(start, end), active)


@contextmanager
def _reading(source: FileRange | StreamRange, size: int) -> Iterator[_ReadAt]:
    """Yield a function that reads the file or stream, at most `size` bytes at a time."""
    try:
        if isinstance(source, StreamRange):
            with StreamReader.of(source) as reader:
                yield partial(_read_stream, reader)
        else:
            with source.path.open("rb", buffering=0) as file:
                yield partial(_read_file, file.fileno(), memoryview(bytearray(size)))
    except OSError as error:
        raise OutputError(f"cannot read {source.path}: {error.strerror}") from error


def _read_stream(reader: StreamReader, offset: int, size: int) -> bytes:
    reader.seek_forward(offset)
    return reader.read(size)


def _read_file(descriptor: int, buffer: memoryview, offset: int, size: int) -> memoryview:
    return buffer[: os.preadv(descriptor, [buffer[:size]], offset)]


def _finish(active: list[_Running], position: int, fail: Fail) -> None:
    for running in [running for running in active if running.end == position]:
        active.remove(running)
        if running.hash.hexdigest() != running.check.sha256:
            fail(mismatch(running.check))


def _check_scattered(check: Check, hasher: _Hasher, fail: Fail) -> None:
    if hasher.hash(check.content) != check.sha256:
        fail(mismatch(check))


def mismatch(check: Check) -> InputError:
    """Return the error for a check whose bytes have another digest."""
    return InputError(
        f"{check.what} does not match its digest sha256:{check.sha256}",
        hint="it is damaged: copy or make it again",
    )


@dataclass(frozen=True, slots=True)
class _Hasher:
    pool: ThreadPoolExecutor
    work: Work

    def feed(self, read: _ReadAt, span: range, active: Sequence[_Running]) -> None:
        """Read the bytes of `span` once and feed them to all active checks in parallel."""
        for offset in range(span.start, span.stop, _CHUNK):
            self.work.check()
            size = min(_CHUNK, span.stop - offset)
            chunk = read(offset, size)
            if len(chunk) != size:
                last = active[-1]
                raise InputError(
                    f"{last.source.path} ends at byte {offset + len(chunk)}, in {last.check.what}",
                    hint="it is truncated: copy or make it again",
                )
            others = [self.pool.submit(running.hash.update, chunk) for running in active[1:]]
            active[0].hash.update(chunk)
            for other in others:
                other.result()
            self.work.advance(size * len(active))

    def hash(self, content: Content) -> str:
        """Return the SHA-256 (hex) of `content`."""
        digest = hashlib.sha256()
        for data in iterate_bytes(content):
            self.work.check()
            digest.update(data)
            self.work.advance(len(data))
        return digest.hexdigest()
