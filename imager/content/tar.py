"""tar archives: planned as a Content, and indexed without being unpacked.

Format: POSIX.1-2017 pax interchange format (ustar where it suffices),
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html. Members are regular files and
folders alone: whatever else an archive holds is only named, since nothing here needs it.
An archive may lie in another one: it is read where it is.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, cast

from imager.content.compression import EarlyEndError, StreamReader, detect_codec
from imager.content.extents import Codec, Content, FileRange, StreamRange, advanced
from imager.content.tree import PlacedFile, TreeFile, VolumePlan
from imager.support.errors import InputError
from imager.support.units import align_up

BLOCK = 512
TAR_END = bytes(2 * BLOCK)
_CHUNK = 1 << 20
# A header or a pax extension; file data is never read in one piece.
_LARGEST_READ = 1 << 20
_LONGEST_PATH = 4096
_LONGEST_NAME = 255
# Public, but missing from the type stubs.
_EndMarkerError: type[tarfile.HeaderError] = vars(tarfile)["EOFHeaderError"]
# Hostile headers make the parser recurse without end, and take text or 2**90 for a number.
_PARSER_ERRORS = (tarfile.TarError, RecursionError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class TarMember:
    """A regular file found in an archive.

    `sha256` (hex) and, for files that were to be kept, `data` are there when the archive is
    compressed: its one reading pass has seen the bytes already.
    """

    path: str
    content: Content
    sha256: str | None = None
    data: bytes | None = None


def plan_tar(
    files: Sequence[TreeFile], *, folders: Sequence[str] = (), timestamp: int
) -> VolumePlan:
    """Return the archive of `folders` and then `files`, in their order.

    Owner 0:0, mode 0755 and 0644, time `timestamp`.
    """
    parts: list[tuple[int, Content]] = []
    placed: list[PlacedFile] = []
    heads = Content.of_bytes(b"".join(folder_header(path, timestamp) for path in folders))
    parts.append((0, heads))
    end = heads.size
    for file in files:
        header = file_header(file.path, file.content.size, timestamp)
        start = end + len(header)
        parts += [(end, Content.of_bytes(header)), (start, file.content)]
        placed.append(PlacedFile(file.path, start, file.content.size))
        end = start + align_up(file.content.size, BLOCK)
    return VolumePlan(Content.compose(end + len(TAR_END), parts), tuple(placed))


def file_header(path: str, size: int, timestamp: int) -> bytes:
    """Return what stands before a file of `size` bytes: a ustar header, pax records if need be."""
    info = tarfile.TarInfo(path)
    info.size = size
    info.mtime = timestamp
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def folder_header(path: str, timestamp: int) -> bytes:
    """Return the entry of a folder, whose name ends with a slash."""
    info = tarfile.TarInfo(path)
    info.type = tarfile.DIRTYPE
    info.mode = 0o755
    info.mtime = timestamp
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


@dataclass(frozen=True, slots=True)
class TarIndex:
    """What is in an archive: `files` in its order, `folders`, and the names of all the `others`.

    The others are links, devices and sparse files.
    """

    files: tuple[TarMember, ...]
    folders: frozenset[str]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TarPlace:
    """Where an archive lies: at `source`, which is a stream if it is compressed.

    It has at most `size` bytes (None: whatever follows).
    """

    source: FileRange | StreamRange
    size: int | None = None

    @classmethod
    def of_file(cls, path: Path) -> TarPlace:
        """Return the archive that is the file `path`, plain or compressed."""
        codec = detect_codec(path)
        return cls(FileRange(path) if codec is None else StreamRange(path, codec))

    @property
    def codec(self) -> Codec | None:
        """How it is compressed, None for not at all."""
        return self.source.codec if isinstance(self.source, StreamRange) else None


def padding(size: int) -> bytes:
    """Return what follows the `size` bytes of a member, to the next block."""
    return bytes(align_up(size, BLOCK) - size)


class _Archive(Protocol):
    """What the header parser needs of a file: it reads headers and skips forwards."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...
    def tell(self) -> int: ...


class _Bounded:
    """An archive from its byte 0 on, in reads that a hostile header cannot make large."""

    def __init__(self, reader: StreamReader | _Archive, start: int, size: int | None) -> None:
        self._reader = reader
        self._start = start
        self._size = size
        self.seek(0)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError(f"a header of {size} bytes")
        room = size if self._size is None else max(min(size, self._size - self.tell()), 0)
        return self._reader.read(room)

    def seek(self, offset: int) -> int:
        if isinstance(self._reader, StreamReader):
            try:
                self._reader.seek_forward(self._start + offset)
            except EarlyEndError as error:
                raise tarfile.ReadError("it ends inside of its last file") from error
        else:
            self._reader.seek(self._start + offset)
        return offset

    def tell(self) -> int:
        return self._reader.tell() - self._start


@contextmanager
def _opened(place: TarPlace) -> Iterator[_Bounded]:
    source = place.source
    try:
        with (
            StreamReader.of(source)
            if isinstance(source, StreamRange)
            else source.path.open("rb") as reader
        ):
            yield _Bounded(reader, source.offset, place.size)
    except _PARSER_ERRORS as error:
        raise InputError(
            f"{source.path} is not a whole tar archive: {error}",
            hint="it is damaged or truncated: create or copy it again",
        ) from error


Keep = Callable[[str, int], bool]


def _keep_nothing(_path: str, _size: int) -> bool:
    return False


def index_tar(place: TarPlace, *, keep: Keep = _keep_nothing) -> TarIndex:
    """Return what is in the archive at `place`.

    A plain archive is only indexed. A compressed one is decompressed once: every file's SHA-256
    is taken, and the files for whose path and size in bytes `keep` says so are kept. Raises
    InputError for what is no whole archive and for names that are bad or there twice.
    """
    with _opened(place) as archive:
        return _index(place, archive, keep)


def first_names(place: TarPlace, count: int) -> tuple[str, ...]:
    """Return the names of up to `count` first members, unchecked; none for what is no tar."""
    names: list[str] = []
    with suppress(InputError), _opened(place) as archive:
        names.extend(info.name for info in islice(_headers(archive), count))
    return tuple(names)


def read_tar_headers(path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the header of every member of the uncompressed archive at `path`, names unchecked.

    Raises InputError for what is no whole archive: unlike the standard library's own loop, which
    takes damage in the middle for the end.
    """
    with _opened(TarPlace(FileRange(path))) as archive:
        yield from _headers(archive)


def _index(place: TarPlace, archive: _Bounded, keep: Keep) -> TarIndex:
    path = place.source.path
    files: dict[str, TarMember] = {}
    folders: set[str] = set()
    others: list[str] = []
    for info in _headers(archive):
        name = _checked_name(path, info)
        if info.isdir():
            folders.add(name)
            continue
        if info.issparse() or not info.isreg():
            others.append(name)
            continue
        if name in files:
            raise InputError(f"{path}: {name} is in the archive twice")
        source = advanced(place.source, info.offset_data)
        if isinstance(source, StreamRange):
            files[name] = _stream_member(name, info, source, archive, keep)
        else:
            files[name] = TarMember(name, Content.of_source(source, info.size))
    return TarIndex(tuple(files.values()), frozenset(folders), tuple(others))


def _headers(archive: _Bounded) -> Iterator[tarfile.TarInfo]:
    """Yield every header up to the end marker, which must be there."""
    tar = tarfile.TarFile(fileobj=cast("tarfile._Fileobj", archive))
    info = tar.next()
    if info is None:
        return
    while True:
        yield info
        archive.seek(tar.offset)
        try:
            info = tarfile.TarInfo.fromtarfile(tar)
        except _EndMarkerError:
            return


def _checked_name(path: Path, info: tarfile.TarInfo) -> str:
    if any(not char.isprintable() for char in info.name) or info.size < 0:
        raise InputError(f"{path}: {info.name!r} is not a name and size that a file can have")
    name = info.name.removeprefix("./").rstrip("/")
    parts = name.split("/")
    if info.isdir() and name in ("", "."):
        return name
    if info.name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise InputError(f"{path}: the name {info.name!r} leads out of the archive")
    if len(name.encode()) > _LONGEST_PATH or max(len(p.encode()) for p in parts) > _LONGEST_NAME:
        raise InputError(f"{path}: the name {info.name[:40]!r}... is too long")
    return name


def _stream_member(
    name: str, info: tarfile.TarInfo, source: StreamRange, archive: _Bounded, keep: Keep
) -> TarMember:
    archive.seek(info.offset_data)
    digest = hashlib.sha256()
    kept: list[bytes] = []
    keeping = keep(name, info.size)
    missing = info.size
    while missing:
        piece = archive.read(min(_CHUNK, missing))
        if not piece:
            raise tarfile.ReadError(f"it ends inside of {name}")
        digest.update(piece)
        missing -= len(piece)
        if keeping:
            kept.append(piece)
    data = b"".join(kept) if keeping else None
    return TarMember(name, Content.of_source(source, info.size), digest.hexdigest(), data)
