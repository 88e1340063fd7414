"""Fetch a blob to its offset in a file, resuming after the bytes left by an earlier run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imager.cache.contents import BlobSource
from imager.content.copier import write_errors
from imager.content.extents import Content, FileRange
from imager.content.reading import iterate_bytes
from imager.oci.errors import WrongBytesError
from imager.oci.sinks import FileSink
from imager.oci.source import ByteSink
from imager.support.errors import HostError, InputError, OutputError, UnsupportedError
from imager.support.meter import Kept
from imager.support.reporter import Reporter
from imager.support.units import MIB, format_size
from imager.support.workers import Work

# Errors that affect only one blob.
OF_ONE_BLOB = (InputError, UnsupportedError, WrongBytesError)
# Smaller downloads are quick to repeat and not worth a leftover folder.
_WORTH_KEEPING = MIB


@dataclass(frozen=True, slots=True)
class Landing:
    """The destination of a blob: the file `path`, open as `descriptor`, from byte `offset`.

    `known` bytes are already written. `note(count, new)` is called after every MiB: `count` bytes
    are written, `new` of them since the last call. `note(0, 0)` discards all of them.
    """

    path: Path
    descriptor: int
    offset: int
    known: int
    note: Callable[[int, int], None]


def resume_blob(wanted: BlobSource, landing: Landing, work: Work) -> None:
    """Fetch the rest of a blob, or all of it if the existing bytes are wrong.

    Raises as ImageSource.fetch_blob, and HostError if the disk is full.
    """
    known = min(landing.known, wanted.blob.size)
    try:
        _fetch(wanted, landing, known, work)
    except OF_ONE_BLOB:
        landing.note(0, 0)
        if not known:
            raise
        _fetch(wanted, landing, 0, work)


def keep_for_resume(folder: Path, size: int, error: BaseException, reporter: Reporter) -> bool:
    """Return whether to keep the `size` bytes in `folder` after `error`, and report it.

    They are kept if they exceed 1 MiB, and the error is not a HostError or OutputError.
    """
    if size < _WORTH_KEEPING or isinstance(error, HostError | OutputError):
        return False
    reporter.warn(f"kept {format_size(size)} in {folder}: run the same command again to resume")
    return True


def _fetch(wanted: BlobSource, landing: Landing, known: int, work: Work) -> None:
    have = iterate_bytes(Content.of_source(FileRange(landing.path, landing.offset), known))
    file = FileSink(landing.descriptor, landing.offset + known, work)
    sink = _NotingSink(file, known, landing.note)
    try:
        wanted.source.fetch_blob(wanted.blob, sink, have=_kept(have, work))
    finally:
        sink.finish()


def _kept(pieces: Iterable[bytes], work: Work) -> Iterator[bytes]:
    for piece in pieces:
        work.check()
        work.advance(Kept(len(piece)))
        yield piece


class _NotingSink:
    """Forwards bytes to a sink and reports progress after every MiB; see `Landing`."""

    def __init__(self, sink: ByteSink, count: int, note: Callable[[int, int], None]) -> None:
        self._sink = sink
        self._count = count
        self._new = 0
        self._note = note

    def write(self, data: bytes) -> None:
        """Forward `data`; raises as the sink, and HostError if the disk is full."""
        self._sink.write(data)
        self._count += len(data)
        self._new += len(data)
        if self._new >= MIB:
            self.finish()

    def finish(self) -> None:
        """Report the remaining bytes; raises HostError if the disk is full."""
        with write_errors():
            self._note(self._count, self._new)
        self._new = 0
