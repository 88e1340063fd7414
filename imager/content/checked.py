"""Write a content and check digests in one pass: the bytes that are hashed are those written.

A file range or compressed stream that a check is about is read into memory once, hashed, and
written from there; several files at a time. Everything else is copied as `copier` does, and checks
of other bytes run beside it.
"""

from __future__ import annotations

import fcntl
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from imager.content.compression import StreamReader
from imager.content.copier import PAGE, Progress, write_all, write_errors, write_extents
from imager.content.digests import Check, run_checks
from imager.content.extents import Content, Extent, FileRange, StreamRange
from imager.content.matching import HashedFile, Hashing, match
from imager.content.reading import Sources, read_stream
from imager.support.workers import Work, usable_cores

# It stays in a core's cache between the read, the hash and the write.
_CHUNK = 256 << 10
# Pieces of files that wait to be written: with more, memory is given back and asked for again.
_MOST_WAITING = 4
# Files are written together up to so many bytes, and so many of them.
_BATCH = 8 << 20
_MOST_IN_BATCH = 500
# Pieces of a stream that wait for their hash.
_MOST_HASHED_LATER = 16
# More than a disk can serve well.
_MOST_JOBS = 4
# linux/fs.h: _IOW(0x94, 13, struct file_clone_range)
_FICLONERANGE = 0x4020940D


@dataclass(frozen=True, slots=True)
class _Output:
    """The descriptor of a file or device, and what its writers share.

    Each of the threads of `pool` takes one of `tasks` after another.
    """

    target: int
    work: Work
    pool: ThreadPoolExecutor
    tasks: deque[_Task]

    def next_task(self) -> _Task | None:
        """Take the next task; None after the last one."""
        try:
            return self.tasks.popleft()
        except IndexError:
            return None

    def write(self, data: memoryview, position: int) -> None:
        """Write bytes at `position`; raises CancelledError once another thread has failed."""
        self.work.check()
        write_all(self.target, data, position)


_Task = Callable[[_Output], None]


def write_checked(
    content: Content, target: int, checks: Sequence[Check], *, progress: Progress
) -> None:
    """Write the extents of `content` as `write_extents` does, and run `checks` meanwhile.

    `progress` is called by one thread at a time. Raises InputError if a check fails, and what
    `write_extents` raises; no thread writes to `target` any more then.
    """
    jobs = min(usable_cores(), _MOST_JOBS)
    work = Work(progress)
    with ThreadPoolExecutor(jobs, "copy") as pool, work.cancel:
        output = _Output(target, work, pool, deque(_tasks(content, checks)))
        running = [pool.submit(_run_tasks, output) for _ in range(jobs)]
        for each in as_completed(running):
            each.result()


def _run_tasks(output: _Output) -> None:
    with write_errors():
        while (task := output.next_task()) is not None:
            output.work.check()
            task(output)


def _tasks(content: Content, checks: Sequence[Check]) -> Iterator[_Task]:
    """Yield functions that together write `content` and run `checks`, the longest first."""
    found = match(content, checks)
    for stream, extents in found.streams.items():
        yield partial(_write_stream, stream, extents)
    for files in _batches(sorted(found.files, key=lambda file: -file.size)):
        yield partial(_write_files, files)
    yield partial(_write_rest, Content(content.size, tuple(found.rest)))
    yield lambda output: run_checks(found.alone, cancel=output.work.cancel)


def _write_rest(content: Content, output: _Output) -> None:
    def advance(count: int) -> None:
        output.work.check()
        output.work.advance(count)

    write_extents(content, output.target, progress=advance)


def _batches(files: Iterable[HashedFile]) -> Iterator[list[HashedFile]]:
    """Yield the files in groups: small ones together, since each task costs time by itself."""
    batch: list[HashedFile] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.size
        if size >= _BATCH or len(batch) == _MOST_IN_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_files(files: Sequence[HashedFile], output: _Output) -> None:
    with Sources() as sources, _helped(output) as write:
        for file in files:
            for source, extent in file.extents:
                there = extent.offset + _share(source, extent, sources, output.target)
                position = extent.offset
                for piece in sources.read(source.path, source.offset, extent.length, _CHUNK):
                    count = file.hashing.update(piece)
                    if isinstance(piece, bytes):
                        write(memoryview(piece)[max(there - position, 0) :], max(position, there))
                    position += count
                    output.work.advance(count)
            file.hashing.finish()


@contextmanager
def _helped(output: _Output) -> Iterator[Callable[[memoryview, int], None]]:
    """Yield `output.write`, which threads without a task run, once there are any.

    The end of the block waits for the pieces that others have begun, and writes the rest.
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
        # The pool would keep pieces in memory that wait behind its tasks.
        if not output.tasks and len(waiting) < _MOST_WAITING and len(data) == _CHUNK:
            waiting.append((output.pool.submit(write_it), write_it))
        else:
            write_it()

    yield write
    while waiting:
        end_first()


def _share(source: FileRange, extent: Extent, sources: Sources, target: int) -> int:
    """Let the file `target` share whole pages with `source`, and return how many bytes.

    None where the file system cannot, or between two of them.
    """
    length = extent.length // PAGE * PAGE
    if not length or source.offset % PAGE or extent.offset % PAGE:
        return 0
    descriptor = sources.open(source.path)
    try:
        span = struct.pack("=qQQQ", descriptor, source.offset, length, extent.offset)
        fcntl.ioctl(target, _FICLONERANGE, span)
    except OSError:
        return 0
    return length


def _write_stream(
    stream: StreamRange, extents: Sequence[tuple[int, Extent, Hashing | None]], output: _Output
) -> None:
    """Write all extents of a stream in its order; another thread hashes them."""
    with StreamReader.of(stream) as reader, _following() as follow:
        for offset, extent, hashing in extents:
            position = extent.offset
            for piece in read_stream(reader, offset, extent.length, _CHUNK):
                if hashing:
                    follow(partial(hashing.update, piece))
                output.write(memoryview(piece), position)
                position += len(piece)
                output.work.advance(len(piece))
    for _, _, hashing in extents:
        if hashing:
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
