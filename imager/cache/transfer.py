"""Transfer blobs to their destinations in parallel, verifying each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.cache.blobstore import BlobStore
from imager.cache.contents import BlobSource
from imager.cache.hardlinks import try_link
from imager.cache.journal import Journal
from imager.cache.resume import OF_ONE_BLOB, Landing, resume_blob
from imager.content.extents import Content, FileRange
from imager.content.writeback import Flusher
from imager.oci.errors import WrongBytesError
from imager.oci.sinks import FileSink
from imager.oci.source import BlobCheck, copy_blob
from imager.support.descriptors import MADE, opened
from imager.support.reporter import Advance
from imager.support.workers import Work


@dataclass(frozen=True, slots=True)
class BlobPlace:
    """The destination of a remote blob: the existing file `path`, from byte `offset`."""

    wanted: BlobSource
    path: Path
    offset: int = 0


Deliver = Callable[[BlobPlace, Work], None]


def fetch_blobs(
    places: Sequence[BlobPlace], *, deliver: Deliver, jobs: int, progress: Advance
) -> None:
    """Deliver all blobs to their places, `jobs` at a time, largest first.

    `progress` is called with the bytes received since its last call, by one thread at a time. The
    transfer continues after a missing or wrong blob, and all such failures are reported together.
    Any other error stops it: DependencyError if a registry fails, HostError if the disk is full.
    """
    work = Work(progress)
    work.run(
        lambda place: deliver(place, work),
        sorted(places, key=lambda place: -place.wanted.blob.size),
        jobs=jobs,
        what="blobs",
        lasting=OF_ONE_BLOB,
    )


def deliver_directly(journal: Journal, flusher: Flusher, place: BlobPlace, work: Work) -> None:
    """Fetch the blob to its place, resuming an earlier run; raises as `resume_blob`."""
    digest = place.wanted.blob.digest
    with opened(place.path, os.O_WRONLY) as descriptor:

        def note(count: int, new: int) -> None:
            journal.record(digest, count)
            if new:
                flusher.wrote(descriptor, new)

        landing = Landing(place.path, descriptor, place.offset, journal.known(digest), note)
        resume_blob(place.wanted, landing, work)


def deliver_through_store(store: BlobStore, place: BlobPlace, work: Work) -> None:
    """Fetch the blob into `store` if necessary and write it to its place; raises as `store.get`.

    If the file contains only the blob, it becomes a hard link to the file in the store where
    possible. Otherwise the blob is copied and verified.
    """
    path = store.get(place.wanted, work)
    if not _link(path, place):
        try:
            _copy(path, place, work)
        except OF_ONE_BLOB:
            # The file was changed without changing its time, or the disk is failing.
            path.unlink(missing_ok=True)
            _copy(store.get(place.wanted, work), place, work)


def _link(path: Path, place: BlobPlace) -> bool:
    """Replace the file by a hard link to `path`; return False if that is not possible.

    It is not possible if the file contains more than the blob.
    """
    if place.offset or place.path.stat().st_size != place.wanted.blob.size:
        return False
    return try_link(path, place.path)


def _copy(path: Path, place: BlobPlace, work: Work) -> None:
    blob = place.wanted.blob
    # The file is missing after `try_link` has failed.
    with opened(place.path, MADE) as descriptor:
        # BlobStore.get has already reported these bytes as progress.
        sink = FileSink(descriptor, place.offset, Work(cancel=work.cancel))
        check = BlobCheck(blob, sink, where=str(path), error=WrongBytesError)
        copy_blob(Content.of_source(FileRange(path), blob.size), check)
