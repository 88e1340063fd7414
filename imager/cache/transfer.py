"""Bringing blobs to their places: several at a time, each checked on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from imager.cache.contents import BlobSource
from imager.cache.journal import Journal
from imager.content.copier import write_error
from imager.content.extents import Content, FileRange
from imager.content.reading import iterate_bytes
from imager.content.writeback import Flusher
from imager.oci.sinks import FileSink
from imager.oci.source import ByteSink, WrongBytesError
from imager.support.errors import ImagerError, InputError, UnsupportedError, joined
from imager.support.meter import Kept
from imager.support.reporter import Advance
from imager.support.units import MIB
from imager.support.workers import SharedProgress, worker_pool

# What a failure says of one blob, whatever becomes of the others.
OF_ONE_BLOB = (InputError, UnsupportedError, WrongBytesError)


@dataclass(frozen=True, slots=True)
class BlobPlace:
    """Where a remote blob goes: into the existing file `path`, from byte `offset` on."""

    source: BlobSource
    path: Path
    offset: int = 0


Deliver = Callable[[BlobPlace, Advance], None]


def fetch_blobs(
    places: Sequence[BlobPlace], *, deliver: Deliver, jobs: int, progress: Advance
) -> None:
    """Have all blobs delivered to their places, `jobs` at a time, the largest first.

    `progress` is called with the bytes that have come since its last call, by one thread at a
    time, and may raise to stop. A blob that is not there or not what it should be does not keep
    the others from being fetched, and all such failures are told together; any other error stops
    the others: DependencyError when a registry fails, HostError when the disk is full.
    """
    ordered = sorted(places, key=lambda place: -place.source.blob.size)
    shared = SharedProgress(progress)
    failures: list[ImagerError] = []
    try:
        with worker_pool(jobs, "fetch") as pool:
            fetches = [pool.submit(deliver, place, shared.advance) for place in ordered]
            for fetch in as_completed(fetches):
                match fetch.exception():
                    case ImagerError() as error:
                        failures.append(error)
                        if not isinstance(error, OF_ONE_BLOB):
                            raise joined(failures, what="blobs")
                    case BaseException() as error:
                        raise error
    finally:
        shared.stop()
    if failures:
        raise joined(failures, what="blobs")


@dataclass(frozen=True, slots=True)
class DirectDelivery:
    """Writes blobs to their places as they arrive, from where an earlier run stopped on."""

    journal: Journal
    flusher: Flusher

    def __call__(self, place: BlobPlace, progress: Advance) -> None:
        """Fetch the blob; raises as ImageSource.fetch_blob, HostError when the disk is full."""
        digest = place.source.blob.digest
        known = min(self.journal.known(digest), place.source.blob.size)
        descriptor = os.open(place.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            try:
                self._fetch(place, descriptor, known, progress)
            except OF_ONE_BLOB:
                self.journal.record(digest, 0)
                if not known:
                    raise
                # What the earlier run left may be what was wrong.
                self._fetch(place, descriptor, 0, progress)
        finally:
            os.close(descriptor)

    def _fetch(self, place: BlobPlace, descriptor: int, known: int, progress: Advance) -> None:
        source, blob = place.source.source, place.source.blob

        def note(count: int, new: int) -> None:
            self.journal.record(blob.digest, count)
            self.flusher.wrote(descriptor, new)

        have = iterate_bytes(Content.of_source(FileRange(place.path, place.offset), known))
        sink = _NotingSink(FileSink(descriptor, place.offset + known, progress), known, note)
        try:
            source.fetch_blob(blob, sink, have=_told(have, progress))
        finally:
            sink.finish()


def _told(pieces: Iterable[bytes], progress: Advance) -> Iterator[bytes]:
    for piece in pieces:
        progress(Kept(len(piece)))
        yield piece


class _NotingSink:
    """Passes bytes on, and has taken down how many there are: `note(count, new)`, for each MiB."""

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
        """Take down what has come since the last time; raises HostError when the disk is full."""
        try:
            self._note(self._count, self._new)
        except OSError as error:
            raise write_error(error) from error
        self._new = 0
