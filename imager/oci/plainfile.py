"""Unnamed temporary files for decompressed bytes that are read out of order.

They are in the folder for temporary files ($TMPDIR), and vanish when the process ends, however it
ends.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PosixPath

from imager.content.compression import StreamReader
from imager.content.copier import write_error
from imager.content.extents import Content, Extent, FileRange, StreamRange
from imager.content.reading import CHUNK
from imager.support.errors import HostError, NoSpaceError
from imager.support.folders import free_space, temporary_place
from imager.support.units import format_size

_OPEN_FILES = Path("/proc/self/fd")


class _HeldPath(PosixPath):
    """The path of an open file; the file is closed when this object is no longer referenced."""


def is_held(path: Path) -> bool:
    """Return whether `path` names a file that this process holds open."""
    return path.parent == _OPEN_FILES


def write_plain(source: object, pieces: Iterable[bytes], *, size: int = 0) -> Path:
    """Write `pieces` to a file that stays open as long as the returned path object exists.

    `source` is what is being decompressed, for messages; `size` is the expected number of bytes, 0
    if unknown. Raises HostError when there is no space, OutputError when the file cannot be
    written.
    """
    try:
        place = temporary_place()
        free = free_space(place)
        if size > free:
            raise _no_space(source, f": {format_size(size)} needed, {format_size(free)} free")
        with tempfile.TemporaryFile(dir=place) as plain:
            for data in pieces:
                plain.write(data)
            plain.flush()
            descriptor = os.dup(plain.fileno())
    except OSError as error:
        failure = write_error(error)
        if not isinstance(failure, HostError):
            raise failure from error
        raise _no_space(source) from error
    path = _HeldPath(_OPEN_FILES / str(descriptor))
    weakref.finalize(path, os.close, descriptor)
    return path


def plain_pieces(stream: StreamRange) -> Iterator[bytes]:
    """Yield the bytes of a compressed stream; raises InputError when it is damaged."""
    with StreamReader.of(stream) as reader:
        while data := reader.read(CHUNK):
            yield data


@dataclass(frozen=True, slots=True)
class PlainStreams:
    """Makes contents readable in any order by decompressing each of their streams once."""

    source: object
    _paths: dict[StreamRange, Path] = field(default_factory=dict)

    def plain(self, contents: Iterable[Content]) -> list[Content]:
        """Return `contents` with ranges of streams replaced by ranges of files.

        Raises as `write_plain`, and InputError for a damaged stream.
        """
        found = list(contents)
        sizes: dict[StreamRange, int] = {}
        for extent in (extent for content in found for extent in content.extents):
            if isinstance(extent.source, StreamRange):
                end = extent.source.offset + extent.length
                sizes[extent.source.stream] = max(sizes.get(extent.source.stream, 0), end)
        for stream, size in sizes.items():
            if stream not in self._paths:
                self._paths[stream] = write_plain(self.source, plain_pieces(stream), size=size)
        return [Content(each.size, tuple(map(self._placed, each.extents))) for each in found]

    def _placed(self, extent: Extent) -> Extent:
        if not isinstance(extent.source, StreamRange):
            return extent
        place = FileRange(self._paths[extent.source.stream], extent.source.offset)
        return Extent(extent.offset, extent.length, place)


def _no_space(source: object, sizes: str = "") -> HostError:
    return NoSpaceError(
        f"no space to decompress {source} in {temporary_place()}{sizes}",
        hint="set TMPDIR to a folder with more space, or decompress it first",
    )
