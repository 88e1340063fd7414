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
# Pieces of files that wait to be written: with more, memory is given back and asked for again.
_MOST_WAITING = 4
# Pieces of a stream that wait for their hash.
_MOST_HASHED_LATER = 16
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

    def update(self, piece: bytes | int) -> int:
        """Add the next bytes, or the length of a hole, and return how many they are.

        Raises InputError after the last ones if the digest is another.
        """
        count = 0
        for data in zeros(piece) if isinstance(piece, int) else (piece,):
            self.hash.update(data)
            count += len(data)
        self.left -= count
        if not self.left:
            self.finish()
        return count

    def finish(self) -> None:
        """Raise InputError if bytes are missing or the digest is another."""
        if self.left or self.hash.hexdigest() != self.check.sha256:
            raise mismatch(self.check)


@dataclass(frozen=True, slots=True)
class _Output:
    """The descriptor of a file or device, and what its writers share: their threads too."""

    target: int
    work: Work
    pool: ThreadPoolExecutor

    def write(self, data: memoryview, position: int) -> None:
        """Write bytes at `position`; raises CancelledError once another thread has failed."""
        self.work.check()
        write_all(self.target, data, position)


_Write = Callable[[_Output], None]


def write_checked(
    content: Content, target: int, checks: Sequence[Check], *, progress: Progress
) -> None:
    """Write the extents of `content` as `write_extents` does, and run `checks` meanwhile.

    `progress` is called by one thread at a time. Raises InputError if a check fails, and what
    `write_extents` raises; no thread writes to `target` any more then.
    """
    with ThreadPoolExecutor(min(usable_cores(), _MOST_JOBS), "copy") as pool:
        output = _Output(target, Work(progress), pool)
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
    with Sources() as sources, _helped(output) as write:
        for extent in extents:
            if isinstance(extent.source, FileRange):
                path, offset = extent.source.path, extent.source.offset
                position = extent.offset
                there = position + _share(sources.open(path), offset, output.target, extent)
                for piece in sources.read(path, offset, extent.length, _CHUNK):
                    count = hashing.update(piece)
                    if isinstance(piece, bytes):
                        write(memoryview(piece)[max(there - position, 0) :], max(position, there))
                    position += count
                    output.work.advance(count)
    hashing.finish()


@contextmanager
def _helped(output: _Output) -> Iterator[Callable[[memoryview, int], None]]:
    """Yield `output.write`, which threads that have nothing else to do run, if there are any.

    In the pool all files come before the first piece. The end of the block waits for the pieces
    that others have begun, and writes the rest.
    """
    waiting: deque[tuple[Future[None], Callable[[], None]]] = deque()

    def end_first() -> None:
        future, write_it = waiting.popleft()
        if future.cancel():
            write_it()
        else:
            future.result()

    def write(data: memoryview, position: int) -> None:
        write_it = partial(output.write, data, position)
        while waiting and waiting[0][0].done():
            end_first()
        if len(waiting) < _MOST_WAITING:
            waiting.append((output.pool.submit(write_it), write_it))
        else:
            write_it()

    yield write
    while waiting:
        end_first()


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
            for piece in read_stream(reader, offset, extent.length, _CHUNK):
                if hashing:
                    follow(partial(hashing.update, piece))
                output.write(memoryview(piece), position)
                position += len(piece)
                output.work.advance(len(piece))
    for extent in extents:
        if hashing := hashed.get(extent):
            hashing.finish()


@contextmanager
def _following() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Yield a function that runs others in one thread, in order, and raises what one raised.

    The end of the block waits for them.
    """
    waiting: deque[Future[object]] = deque()

    def follow(do: Callable[[], object]) -> None:
        if len(waiting) == _MOST_HASHED_LATER:
            # Half of them at once: to wait for each would make the threads wait for each other.
            while len(waiting) > _MOST_HASHED_LATER // 2:
                waiting.popleft().result()
        waiting.append(pool.submit(do))

    with ThreadPoolExecutor(1, "hash") as pool:
        try:
            yield follow
            for each in waiting:
                each.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
