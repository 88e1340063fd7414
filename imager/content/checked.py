"""Write a content and check digests in one pass: the bytes that are hashed are those written.

A file range or compressed stream that a check is about is read into memory once, hashed, and
written from there; several files at a time. Everything else is copied as `copier` does, and checks
of other bytes run beside it.
"""

from __future__ import annotations

import fcntl
import hashlib
import struct
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from imager.content.compression import StreamReader
from imager.content.copier import PAGE, Progress, write_all, write_errors, write_extents
from imager.content.digests import Check, mismatch, run_checks
from imager.content.extents import Content, Extent, FileRange, Source, StreamRange, advanced
from imager.content.reading import Sources, read_stream, zeros
from imager.support.workers import Work, usable_cores

if TYPE_CHECKING:
    from hashlib import _Hash

# It stays in a core's cache between the read, the hash and the write.
_CHUNK = 256 << 10
# Handing a piece to another thread costs more than the way to that core's cache.
_STREAM_CHUNK = 1 << 20
# Pieces of a stream that wait for their hash.
_MOST_WAITING = 16
# More than a disk can serve well.
_MOST_JOBS = 4
# linux/fs.h: _IOW(0x94, 13, struct file_clone_range)
_FICLONERANGE = 0x4020940D


@dataclass(slots=True)
class _Hashing:
    """The digest of a check so far, and how many bytes are missing."""

    check: Check
    left: int
    hash: _Hash = field(default_factory=hashlib.sha256)

    def update(self, data: bytes) -> None:
        """Add the next bytes; raises InputError after the last ones if the digest is another."""
        self.hash.update(data)
        self.left -= len(data)
        if not self.left:
            self.finish()

    def finish(self) -> None:
        """Raise InputError if bytes are missing or the digest is another."""
        if self.left or self.hash.hexdigest() != self.check.sha256:
            raise mismatch(self.check)


@dataclass(frozen=True, slots=True)
class _Output:
    """The descriptor of a file or device, and what its writers share."""

    target: int
    work: Work

    def write(self, data: bytes, position: int, *, skip: int = 0) -> None:
        """Write the bytes that belong at `position`, except the first `skip` of them."""
        self.work.check()
        write_all(self.target, memoryview(data)[skip:], position + skip)


_Write = Callable[[_Output], None]


def write_checked(
    content: Content, target: int, checks: Sequence[Check], *, progress: Progress
) -> None:
    """Write the extents of `content` as `write_extents` does, and run `checks` meanwhile.

    `progress` is called by one thread at a time. Raises InputError if a check fails, and what
    `write_extents` raises; no thread writes to `target` any more then.
    """
    output = _Output(target, Work(progress))
    with ThreadPoolExecutor(min(usable_cores(), _MOST_JOBS), "copy") as pool:
        running = [pool.submit(_run, write, output) for write in _writes(content, checks)]
        try:
            for each in as_completed(running):
                each.result()
        except BaseException:
            output.work.cancel.set()
            raise


def _run(write: _Write, output: _Output) -> None:
    output.work.check()
    with write_errors():
        write(output)


def _writes(content: Content, checks: Sequence[Check]) -> Iterator[_Write]:
    """Yield functions that together write `content` and run `checks`, the longest first."""
    files, hashed, alone = _matched(content, checks)
    streams: dict[StreamRange, list[Extent]] = defaultdict(list)
    rest: list[Extent] = []
    for extent in content.extents:
        if isinstance(extent.source, StreamRange):
            streams[extent.source.stream].append(extent)
        elif extent not in hashed:
            rest.append(extent)
    for stream, extents in streams.items():
        yield partial(_write_stream, stream, extents, hashed)
    for parts in sorted(files, key=lambda parts: -hashed[parts[0]].left):
        yield partial(_write_file, parts, hashed[parts[0]])
    yield partial(_write_rest, Content(content.size, tuple(rest)))
    yield lambda output: run_checks(alone, cancel=output.work.cancel)


def _matched(
    content: Content, checks: Iterable[Check]
) -> tuple[list[list[Extent]], Mapping[Extent, _Hashing], list[Check]]:
    """Find the extents that checks are about.

    Returns those of each check of files in its order, the hash of each extent, also of streams, and
    the checks of which not all bytes are written, or not in one pass.
    """
    places: dict[Source, Extent] = {}
    for extent in content.extents:
        if isinstance(extent.source, FileRange | StreamRange):
            places[extent.source] = extent
    files: list[list[Extent]] = []
    hashed: dict[Extent, _Hashing] = {}
    alone: list[Check] = []
    for check in checks:
        found = _extents_of(check, places)
        if not found:
            alone.append(check)
            continue
        hashing = _Hashing(check, check.content.size)
        hashed |= dict.fromkeys(found, hashing)
        for extent in found:
            del places[extent.source]
        if not isinstance(check.source, StreamRange):
            files.append(found)
    return files, hashed, alone


def _extents_of(check: Check, places: Mapping[Source, Extent]) -> list[Extent]:
    """Return the extents that are the bytes of a check, in order; none if not all are there."""
    if check.content.data_size < check.content.size:
        return []
    found: list[Extent] = []
    for wanted in check.content.extents:
        # A stream is read in its own order.
        if not isinstance(wanted.source, FileRange) and check.source is None:
            return []
        source, left = wanted.source, wanted.length
        while left:
            extent = places.get(source)
            if extent is None or extent.length > left:
                return []
            found.append(extent)
            source, left = advanced(source, extent.length), left - extent.length
    return found


def _write_rest(content: Content, output: _Output) -> None:
    def advance(count: int) -> None:
        output.work.check()
        output.work.advance(count)

    write_extents(content, output.target, progress=advance)


def _write_file(extents: Sequence[Extent], hashing: _Hashing, output: _Output) -> None:
    with Sources() as sources:
        for extent in extents:
            if isinstance(extent.source, FileRange):
                _write_range(extent.source, extent, hashing, sources, output)
    hashing.finish()


def _write_range(
    source: FileRange,
    extent: Extent,
    hashing: _Hashing,
    sources: Sources,
    output: _Output,
) -> None:
    position = extent.offset
    there = position + _share(sources.open(source.path), source.offset, output.target, extent)
    for piece in sources.read(source.path, source.offset, extent.length, _CHUNK):
        if isinstance(piece, int):
            for data in zeros(piece):
                output.work.check()
                hashing.update(data)
            count = piece
        else:
            hashing.update(piece)
            count = len(piece)
            output.write(piece, position, skip=max(there - position, 0))
        position += count
        output.work.advance(count)


def _share(source: int, offset: int, target: int, extent: Extent) -> int:
    """Let the file `target` share whole pages with `source`, and return how many bytes.

    None where the file system cannot, or between two of them.
    """
    length = extent.length // PAGE * PAGE
    if not length or offset % PAGE or extent.offset % PAGE:
        return 0
    try:
        span = struct.pack("=qQQQ", source, offset, length, extent.offset)
        fcntl.ioctl(target, _FICLONERANGE, span)
    except OSError:
        return 0
    return length


def _write_stream(
    stream: StreamRange,
    extents: Sequence[Extent],
    hashed: Mapping[Extent, _Hashing],
    output: _Output,
) -> None:
    """Write all extents of a stream in its order; another thread hashes them."""
    in_order = [
        (extent.source.offset, extent)
        for extent in extents
        if isinstance(extent.source, StreamRange)
    ]
    in_order.sort(key=lambda item: item[0])
    with StreamReader.of(stream) as reader, _following() as follow:
        for offset, extent in in_order:
            hashing = hashed.get(extent)
            position = extent.offset
            for piece in read_stream(reader, offset, extent.length, _STREAM_CHUNK):
                if hashing:
                    follow(partial(hashing.update, piece))
                output.write(piece, position)
                position += len(piece)
                output.work.advance(len(piece))
    for extent in extents:
        if hashing := hashed.get(extent):
            hashing.finish()


@contextmanager
def _following() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Yield a function that runs others in one thread, in order, and raises what one raised.

    The end of the block waits for them.
    """
    waiting: deque[Future[None]] = deque()

    def follow(do: Callable[[], None]) -> None:
        if len(waiting) == _MOST_WAITING:
            waiting.popleft().result()
        waiting.append(pool.submit(do))

    with ThreadPoolExecutor(1, "hash") as pool:
        try:
            yield follow
            for each in waiting:
                each.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
