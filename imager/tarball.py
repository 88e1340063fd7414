"""tar archives: planned as a Content, and indexed without being unpacked.

Format: POSIX.1-2017 pax interchange format (ustar where it suffices),
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html. Members are regular files and
folders alone: whatever else an archive holds is refused, since nothing here needs it.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from imager.compression import StreamReader, detect_codec
from imager.errors import InputError
from imager.extents import Codec, Content, FileRange, StreamRange
from imager.filetree import PlacedFile, TreeFile, VolumePlan
from imager.units import align_up

BLOCK = 512
_END = 2 * BLOCK
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


def plan_tar(files: Sequence[TreeFile], *, timestamp: int) -> VolumePlan:
    """Return the archive of `files` in their order: mode 0644, owner 0:0, time `timestamp`."""
    parts: list[tuple[int, Content]] = []
    placed: list[PlacedFile] = []
    end = 0
    for file in files:
        header = _header(file, timestamp)
        start = end + len(header)
        parts += [(end, Content.of_bytes(header)), (start, file.content)]
        placed.append(PlacedFile(file.path, start, file.content.size))
        end = start + align_up(file.content.size, BLOCK)
    return VolumePlan(Content.compose(end + _END, parts), tuple(placed))


def _header(file: TreeFile, timestamp: int) -> bytes:
    info = tarfile.TarInfo(file.path)
    info.size = file.content.size
    info.mtime = timestamp
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


class _Archive(Protocol):
    """What the header parser needs of a file: it reads headers and skips forwards."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, /) -> int: ...
    def tell(self) -> int: ...


class _Bounded:
    """A plain or compressed file, in reads that a hostile header cannot make large."""

    def __init__(self, reader: StreamReader | _Archive) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._reader.read(size)

    def seek(self, offset: int) -> int:
        if isinstance(self._reader, StreamReader):
            self._reader.seek_forward(offset)
        else:
            self._reader.seek(offset)
        return offset

    def tell(self) -> int:
        return self._reader.tell()


@contextmanager
def _opened(path: Path, codec: Codec | None) -> Iterator[_Bounded]:
    try:
        with path.open("rb") if codec is None else StreamReader(path, codec) as reader:
            yield _Bounded(reader)
    except _PARSER_ERRORS as error:
        raise InputError(
            f"{path} is not a whole tar archive: {error}",
            hint="it is damaged or truncated: create or copy it again",
        ) from error


Keep = Callable[[str, int], bool]


def _keep_nothing(_path: str, _size: int) -> bool:
    return False


def index_tar(path: Path, *, keep: Keep = _keep_nothing) -> tuple[TarMember, ...]:
    """Return the regular files of the archive at `path`, plain or compressed, in its order.

    A plain archive is only indexed. A compressed one is decompressed once: every file's SHA-256
    is taken, and the files for whose path and size in bytes `keep` says so are kept. Raises
    InputError for what is no whole archive and for members that are links, devices, sparse,
    badly named or there twice.
    """
    codec = detect_codec(path)
    with _opened(path, codec) as archive:
        return tuple(_members(path, codec, archive, keep))


def read_tar_headers(path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the header of every member of the uncompressed archive at `path`, names unchecked.

    Raises InputError for what is no whole archive: unlike the standard library's own loop, which
    takes damage in the middle for the end.
    """
    with _opened(path, None) as archive:
        yield from _headers(archive)


def _members(path: Path, codec: Codec | None, archive: _Bounded, keep: Keep) -> Iterator[TarMember]:
    seen: set[str] = set()
    for info in _headers(archive):
        name = _checked_name(path, info)
        if info.isdir():
            continue
        if name in seen:
            raise InputError(f"{path}: {name} is in the archive twice")
        seen.add(name)
        if codec is None:
            yield TarMember(name, Content.of_source(FileRange(path, info.offset_data), info.size))
        else:
            yield _stream_member(
                name, info, StreamRange(path, codec, info.offset_data), archive, keep
            )


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
    if info.issparse() or not (info.isreg() or info.isdir()):
        raise InputError(f"{path}: {info.name!r} is neither a file nor a folder")
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
