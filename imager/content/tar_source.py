"""Where a tar is, and its bytes: plain or compressed, and read within limits."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imager.content.compression import EarlyEndError, StreamReader, detect_codec
from imager.content.extents import Codec, Content, FileRange, StreamRange
from imager.content.reading import content_codec
from imager.support.errors import InputError

_LARGEST_READ = 1 << 20
# Of the header parser: hostile headers cause recursion, invalid numbers, and such as 2**90, and a
# sparse file may lack a record.
PARSER_ERRORS = (tarfile.TarError, RecursionError, ValueError, OverflowError, KeyError)


@dataclass(frozen=True, slots=True)
class TarPlace:
    """The location of an archive: `source` is a StreamRange if it is compressed.

    The archive has at most `size` bytes (None: up to the end of the source).
    """

    source: FileRange | StreamRange
    size: int | None = None

    @classmethod
    def of_file(cls, path: Path) -> TarPlace:
        """Return the location of the archive file `path`, plain or compressed."""
        codec = detect_codec(path)
        return cls(FileRange(path) if codec is None else StreamRange(path, codec))

    @classmethod
    def of_blob(cls, blob: Content) -> TarPlace | None:
        """Return the location of the archive `blob`; its bytes decide whether it is compressed.

        None if it is not a part of one file.
        """
        match [extent.source for extent in blob.extents]:
            case [FileRange() as place]:
                codec = content_codec(blob)
                if codec is None:
                    return cls(place, blob.size)
                return cls(StreamRange(place.path, codec, 0, place.offset, blob.size))
        return None

    @property
    def codec(self) -> Codec | None:
        """The compression, or None if uncompressed."""
        return self.source.codec if isinstance(self.source, StreamRange) else None

    @property
    def has_known_size(self) -> bool:
        """Whether a truncated archive is noticed without an end marker."""
        source = self.source
        length = source.length if isinstance(source, StreamRange) else None
        return self.size is not None or length is not None


class EndError(tarfile.ReadError):
    """The archive is shorter than its headers require."""

    def __init__(self) -> None:
        super().__init__("it ends inside of its last file")


class BoundedArchive:
    """An archive as the file that the header parser needs, with a limit against hostile headers.

    `read_at` returns bytes at an offset of the archive, fewer at its end, which is at most `size`.
    """

    def __init__(
        self, read_at: Callable[[int, int], bytes], size: int | None, *, has_known_size: bool
    ) -> None:
        self._read_at = read_at
        self._size = size
        self._position = 0
        self.has_known_size = has_known_size

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end; raises ReadError for too many at once."""
        if not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError(f"a header of {size} bytes")
        room = size if self._size is None else max(min(size, self._size - self._position), 0)
        data = self._read_at(self._position, room)
        self._position += len(data)
        return data

    def seek(self, offset: int) -> int:
        """Go to a byte of the archive; raises ReadError for one before its start."""
        if offset < 0:
            raise tarfile.ReadError("a member has an invalid size")
        self._position = offset
        return offset

    def tell(self) -> int:
        """Return the position in the archive."""
        return self._position

    def require(self, end: int) -> None:
        """Raise ReadError if the archive ends before byte `end`."""
        if self._position < end:
            self.seek(end - 1)
            if not self.read(1):
                raise EndError


@contextmanager
def opened_archive(place: TarPlace) -> Iterator[BoundedArchive]:
    """Yield the archive; raises InputError if the block finds that it is not a whole tar."""
    source = place.source
    start = source.offset
    known = place.has_known_size
    try:
        if isinstance(source, StreamRange):
            with StreamReader.of(source) as stream:
                read_at = partial(_read_stream, stream, start)
                yield BoundedArchive(read_at, place.size, has_known_size=known)
        else:
            with source.path.open("rb") as file:
                read_at = partial(_read_file, file.fileno(), start)
                yield BoundedArchive(read_at, place.size, has_known_size=known)
    except PARSER_ERRORS as error:
        raise InputError(
            f"{source.path} is not a whole tar archive: {error}",
            hint="it is damaged or truncated: create or copy it again",
        ) from error


def _read_stream(stream: StreamReader, start: int, offset: int, size: int) -> bytes:
    try:
        stream.seek_forward(start + offset)
    except EarlyEndError as error:
        raise EndError from error
    return stream.read(size)


def _read_file(descriptor: int, start: int, offset: int, size: int) -> bytes:
    return os.pread(descriptor, size, start + offset)
