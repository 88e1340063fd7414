"""Write a Content to a file, moving each byte once, in the kernel where possible.

Plain ranges are copied with copy_file_range(2), which shares blocks (reflinks) on file systems
that support it, otherwise with sendfile(2), otherwise by reading and writing. Holes in a source
remain holes in the target. Each compressed source is decompressed in one forward pass, in stream
order, regardless of the order in the target.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from imager.content.compression import StreamReader
from imager.content.extents import (
    BlockRange,
    Content,
    Data,
    Extent,
    FetchedRange,
    FileRange,
    StreamRange,
)
from imager.content.reading import Blocks, Sources, read_stream, shorter
from imager.support.errors import ImagerError, OutputError, no_room

Progress = Callable[[int], None]

# Large enough to make system call overhead negligible, small enough for smooth progress.
_KERNEL_CHUNK = 32 << 20
_USER_CHUNK = 1 << 20
# File systems share blocks, and the kernel moves pages, only as a whole.
PAGE = 4096
_NOT_HERE = {errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EBADF}


class CopyMethod(enum.Enum):
    """A method of copying bytes between two files."""

    COPY_FILE_RANGE = "copy_file_range"
    SENDFILE = "sendfile"
    READ_WRITE = "read_write"


ALL_METHODS = tuple(CopyMethod)


def write_content(
    content: Content,
    target: int,
    *,
    progress: Progress,
    methods: Sequence[CopyMethod] = ALL_METHODS,
    blocks: Blocks | None = None,
) -> None:
    """Write `content` to the empty file of descriptor `target`, starting at byte 0.

    `progress` is called with the number of extent bytes done since the last call, and may raise
    to stop. `methods` are tried in order; an extent whose position within a page changes is
    copied with READ_WRITE first, if that is one of them. `blocks` are those of a pass over several
    contents. Raises HostError when the disk is full,
    OutputError when reading or writing fails, InputError when a source is shorter than planned.
    """
    with write_errors():
        os.ftruncate(target, content.size)
    write_extents(content, target, progress=progress, methods=methods, blocks=blocks)


def write_extents(
    content: Content,
    target: int,
    *,
    progress: Progress,
    methods: Sequence[CopyMethod] = ALL_METHODS,
    blocks: Blocks | None = None,
) -> None:
    """Write the extents of `content` to a file or device whose holes read as zeros already.

    Parameters and errors are those of `write_content`.
    """
    with write_errors():
        with Sources(blocks) as sources:
            for extent in content.extents:
                _write_plain(extent, target, sources, methods, progress)
        _write_streams(content, target, progress)


def write_error(error: OSError) -> ImagerError:
    """Return the user-facing error for a failed write."""
    return no_room(error) or OutputError(f"copying failed: {error}")


@contextmanager
def write_errors() -> Iterator[None]:
    """Turn an OSError that the block raises into the user-facing error for a failed write."""
    try:
        yield
    except OSError as error:
        raise write_error(error) from error


def _write_plain(
    extent: Extent,
    target: int,
    sources: Sources,
    methods: Sequence[CopyMethod],
    progress: Progress,
) -> None:
    match extent.source:
        case Data(data, offset):
            write_all(target, memoryview(data)[offset : offset + extent.length], extent.offset)
            progress(extent.length)
        case FileRange(path, offset):
            ranges = sources.data_ranges(path, offset, extent.length)
            if (offset - extent.offset) % PAGE:
                # Unaligned blocks cannot be shared; for partial pages the kernel is slower.
                methods = sorted(methods, key=lambda method: method is not CopyMethod.READ_WRITE)
            copy = _Copy(path, sources.open(path), target, methods, progress)
            for start, length in ranges:
                copy.run(start, start - offset + extent.offset, length)
            progress(extent.length - sum(length for _, length in ranges))
        case FetchedRange(file, offset):
            for start in range(0, extent.length, _USER_CHUNK):
                length = min(_USER_CHUNK, extent.length - start)
                file.fetch(offset + start, length)
                part = Extent(extent.offset + start, length, FileRange(file.path, offset + start))
                _write_plain(part, target, sources, methods, progress)
        case BlockRange() as block:
            piece = sources.blocks.read(block, 0, extent.length)
            write_all(target, memoryview(piece), extent.offset)
            progress(extent.length)
        case StreamRange():
            pass


def _write_streams(content: Content, target: int, progress: Progress) -> None:
    ranges = [
        (extent.source, extent)
        for extent in content.extents
        if isinstance(extent.source, StreamRange)
    ]
    ranges.sort(key=lambda item: (item[0].path, item[0].start, item[0].offset))
    for stream, group in groupby(ranges, key=lambda item: item[0].stream):
        with StreamReader.of(stream) as reader:
            for source, extent in group:
                position = extent.offset
                for piece in read_stream(reader, source.offset, extent.length, _USER_CHUNK):
                    write_all(target, memoryview(piece), position)
                    position += len(piece)
                    progress(len(piece))


def write_all(target: int, data: memoryview, offset: int) -> None:
    """Write all of `data` at byte `offset`; raises OSError."""
    while data:
        done = os.pwrite(target, data, offset)
        data, offset = data[done:], offset + done


@dataclass(frozen=True, slots=True)
class _Copy:
    path: Path
    source: int
    target: int
    methods: Sequence[CopyMethod]
    progress: Progress

    def run(self, source_offset: int, target_offset: int, length: int) -> None:
        """Copy `length` bytes with the first method that works for these files."""
        done = 0
        for method in self.methods:
            while done < length:
                moved = self._move(
                    method, source_offset + done, target_offset + done, length - done
                )
                if moved == 0:
                    break
                done += moved
                self.progress(moved)
        if done < length:
            raise shorter(self.path)

    def _move(self, method: CopyMethod, source_offset: int, target_offset: int, length: int) -> int:
        """Copy some bytes and return how many; 0 if the method does not work for these files."""
        size = min(length, _USER_CHUNK if method is CopyMethod.READ_WRITE else _KERNEL_CHUNK)
        try:
            return self._call(method, source_offset, target_offset, size)
        except OSError as error:
            if method is CopyMethod.READ_WRITE or error.errno not in _NOT_HERE:
                raise
            return 0

    def _call(self, method: CopyMethod, source_offset: int, target_offset: int, size: int) -> int:
        match method:
            case CopyMethod.COPY_FILE_RANGE:
                return os.copy_file_range(
                    self.source, self.target, size, source_offset, target_offset
                )
            case CopyMethod.SENDFILE:
                os.lseek(self.target, target_offset, os.SEEK_SET)
                return os.sendfile(self.target, self.source, source_offset, size)
            case CopyMethod.READ_WRITE:
                piece = os.pread(self.source, size, source_offset)
                write_all(self.target, memoryview(piece), target_offset)
                return len(piece)
