"""Write a planned output, raw or compressed, and check digests meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import zstandard

from imager.content.copier import write_content, write_error
from imager.content.digests import Check, checking
from imager.content.extents import Content, FileRange, StreamRange
from imager.content.reading import iterate_bytes, iterate_content, zeros
from imager.content.writeback import flushing
from imager.support.atomic import atomic_file
from imager.support.errors import InputError
from imager.support.reporter import Advance
from imager.support.units import MIB
from imager.talos.choices import OutFormat

# Blobs are already compressed: a higher level costs time and gains nothing.
_ZSTD_LEVEL = 1
# Holes of at least this size become frames of zeros, which are compressed only once.
_ZERO_FRAME = 64 * MIB


@dataclass(frozen=True, slots=True)
class WriteJob:
    """What to write, where, and in which format; `checks` run during the write.

    Without `clobber`, an existing file at `path` is an error.
    """

    content: Content
    path: Path
    out_format: OutFormat = OutFormat.RAW
    checks: Sequence[Check] = ()
    checksum: bool = False
    clobber: bool = True


@dataclass(frozen=True, slots=True)
class Written:
    """The written file, its size in bytes, and its SHA-256 (hex) if requested."""

    path: Path
    size: int
    sha256: str | None


def write_output(job: WriteJob, *, progress: Advance) -> Written:
    """Write the job's content atomically, while its checks run.

    Raises InputError if a check fails, an input changes during the write, or an existing file may
    not be replaced; HostError if the disk is full; OutputError if reading or writing fails. Leaves
    nothing behind on failure.
    """
    write = _WRITERS[job.out_format]
    with atomic_file(job.path, clobber=job.clobber) as target:
        with (
            _unchanged(job.content),
            checking(job.checks) as raise_failed,
            flushing() as flusher,
        ):

            def advance(count: int) -> None:
                raise_failed()
                flusher.wrote(target, count)
                progress(count)

            sha256 = write(job.content, target, job.checksum, advance)
        size = os.fstat(target).st_size
    return Written(job.path, size, sha256)


_Writer = Callable[[Content, int, bool, Advance], str | None]


def _write_raw(content: Content, target: int, checksum: bool, progress: Advance) -> str | None:  # noqa: FBT001
    ended = threading.Event()
    with ThreadPoolExecutor(1, "checksum") as pool:
        digest = pool.submit(_content_sha256, content, ended) if checksum else None
        try:
            write_content(content, target, progress=progress)
            return digest.result() if digest else None
        finally:
            ended.set()


def _content_sha256(content: Content, ended: threading.Event) -> str:
    """Return the SHA-256 of the planned content, without reading the output file.

    Stops early once `ended` is set, because the result is then unused.
    """
    digest = hashlib.sha256()
    for data in iterate_bytes(content):
        if ended.is_set():
            return ""
        digest.update(data)
    return digest.hexdigest()


class _Sink:
    """Writes to the output file, and hashes the data."""

    def __init__(self, target: int, *, checksum: bool) -> None:
        self._target = target
        self._digest = hashlib.sha256() if checksum else None

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            view = view[os.write(self._target, view) :]
        if self._digest:
            self._digest.update(data)
        return len(data)

    def hexdigest(self) -> str | None:
        return self._digest.hexdigest() if self._digest else None


def _write_zstd(content: Content, target: int, checksum: bool, progress: Advance) -> str | None:  # noqa: FBT001
    """Write Zstandard frames (RFC 8878), split at large holes."""
    sink = _Sink(target, checksum=checksum)
    compressor = _compressor()
    frame = compressor.compressobj()
    try:
        for piece in iterate_content(content):
            if isinstance(piece, int) and piece >= _ZERO_FRAME:
                sink.write(frame.flush())
                for _ in range(piece // _ZERO_FRAME):
                    sink.write(_zero_frame())
                frame = compressor.compressobj()
            rest = (piece,) if isinstance(piece, bytes) else zeros(piece % _ZERO_FRAME)
            for data in rest:
                sink.write(frame.compress(data))
            progress(len(piece) if isinstance(piece, bytes) else 0)
        sink.write(frame.flush())
    except OSError as error:
        raise write_error(error) from error
    return sink.hexdigest()


def _compressor() -> zstandard.ZstdCompressor:
    # Any number of threads from 1 gives the same bytes; 0 (no threads) gives different ones.
    return zstandard.ZstdCompressor(
        level=_ZSTD_LEVEL, threads=max(1, os.cpu_count() or 1), write_checksum=True
    )


@cache
def _zero_frame() -> bytes:
    return _compressor().compress(bytes(_ZERO_FRAME))


_WRITERS: Mapping[OutFormat, _Writer] = {OutFormat.RAW: _write_raw, OutFormat.ZST: _write_zstd}


@contextmanager
def _unchanged(content: Content) -> Iterator[None]:
    """Raise InputError if a source file changed while the block ran."""
    paths = {
        extent.source.path
        for extent in content.extents
        if isinstance(extent.source, FileRange | StreamRange)
    }
    before = {path: _identity(path) for path in paths}
    yield
    for path, identity in before.items():
        if _identity(path) != identity:
            raise InputError(
                f"{path} was changed while it was copied",
                hint="let nothing write to the inputs during a build, then run it again",
            )


def _identity(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
