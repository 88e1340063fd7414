"""Where a tar is, and its bytes: plain or compressed, and read within limits."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imager.content.compression import EarlyEndError, StreamReader, detect_codec
from imager.content.extents import Codec, Content, FileRange, StreamRange
from imager.content.reading import content_codec
from imager.support.errors import InputError

_LARGEST_READ = 1 << 20
_PARSER_ERRORS = (tarfile.TarError, RecursionError, ValueError, OverflowError)


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


class _Archive(Protocol):
    """The file interface that the header parser needs: read headers and skip forwards."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...
    def tell(self) -> int: ...


class EndError(tarfile.ReadError):
    """The archive is shorter than its headers require."""

    def __init__(self) -> None:
        super().__init__("it ends inside of its last file")


class BoundedArchive:
    """An archive, positioned from 0, with a read size limit against hostile headers."""

    def __init__(self, reader: StreamReader | _Archive, place: TarPlace) -> None:
        self._reader = reader
        self._start = place.source.offset
        self._size = place.size
        self.has_known_size = place.has_known_size
        self.seek(0)

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end; raises ReadError for too many at once."""
        if not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError(f"a header of {size} bytes")
        room = size if self._size is None else max(min(size, self._size - self.tell()), 0)
        return self._reader.read(room)

    def seek(self, offset: int) -> int:
        """Go to a byte of the archive, in a compressed one by reading; raises EndError."""
        if isinstance(self._reader, StreamReader):
            try:
                self._reader.seek_forward(self._start + offset)
            except EarlyEndError as error:
                raise EndError from error
        else:
            self._reader.seek(self._start + offset)
        return offset

    def tell(self) -> int:
        """Return the position in the archive."""
        return self._reader.tell() - self._start

    def require(self, end: int) -> None:
        """Raise ReadError if the archive ends before byte `end`."""
        if self.tell() < end:
            self.seek(end - 1)
            if not self.read(1):
                raise EndError


@contextmanager
def opened_archive(place: TarPlace) -> Iterator[BoundedArchive]:
    """Yield the archive; raises InputError if the block finds that it is not a whole tar."""
    source = place.source
    try:
        with (
            StreamReader.of(source)
            if isinstance(source, StreamRange)
            else source.path.open("rb") as reader
        ):
            yield BoundedArchive(reader, place)
    except _PARSER_ERRORS as error:
        raise InputError(
            f"{source.path} is not a whole tar archive: {error}",
            hint="it is damaged or truncated: create or copy it again",
        ) from error
