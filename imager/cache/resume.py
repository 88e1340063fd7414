"""Fetches a blob to its place in a file, behind the bytes that an earlier run left there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imager.cache.contents import BlobSource
from imager.content.copier import write_error
from imager.content.extents import Content, FileRange
from imager.content.reading import iterate_bytes
from imager.oci.errors import WrongBytesError
from imager.oci.sinks import FileSink
from imager.oci.source import ByteSink
from imager.support.errors import InputError, UnsupportedError
from imager.support.meter import Kept
from imager.support.units import MIB
from imager.support.workers import Work

# Errors that concern one blob, whatever becomes of the others.
OF_ONE_BLOB = (InputError, UnsupportedError, WrongBytesError)


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a blob goes: the file `path`, open as `descriptor`, from byte `offset` on.

    `known` bytes are there already. `note(count, new)` is called for each MiB: `count` bytes are
    there, `new` of them since the last call. `note(0, 0)` says that none of them can be used.
    """

    path: Path
    descriptor: int
    offset: int
    known: int
    note: Callable[[int, int], None]


def resume_blob(wanted: BlobSource, landing: Landing, work: Work) -> None:
    """Fetch what is missing of a blob; from byte 0 when the bytes that are there are wrong.

    Raises as ImageSource.fetch_blob, HostError when the disk is full.
    """
    known = min(landing.known, wanted.blob.size)
    try:
        _fetch(wanted, landing, known, work)
    except OF_ONE_BLOB:
        landing.note(0, 0)
        if not known:
            raise
        _fetch(wanted, landing, 0, work)


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
    """Passes bytes on, and notes how many there are for each MiB; see `Landing`."""

    def __init__(self, sink: ByteSink, count: int, note: Callable[[int, int], None]) -> None:
        self._sink = sink
        self._count = count
        self._new = 0
        self._note = note

    def write(self, data: bytes) -> None:
        """Pass `data` on; raises as its sink, HostError when the disk is full."""
        self._sink.write(data)
        self._count += len(data)
        self._new += len(data)
        if self._new >= MIB:
            self.finish()

    def finish(self) -> None:
        """Note what has arrived since the last time; raises HostError when the disk is full."""
        try:
            self._note(self._count, self._new)
        except OSError as error:
            raise write_error(error) from error
        self._new = 0
