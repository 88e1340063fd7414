"""Brings blobs to their places: several at a time, each checked on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.cache.blobstore import LayerCache
from imager.cache.contents import BlobSource
from imager.cache.journal import Journal
from imager.cache.resume import OF_ONE_BLOB, Landing, resume_blob
from imager.content.extents import Content, FileRange
from imager.content.writeback import Flusher
from imager.oci.errors import WrongBytesError
from imager.oci.sinks import FileSink
from imager.oci.source import BlobCheck, copy_blob
from imager.support.descriptors import opened
from imager.support.reporter import Advance
from imager.support.workers import Work


@dataclass(frozen=True, slots=True)
class BlobPlace:
    """Where a remote blob goes: into the existing file `path`, from byte `offset` on."""

    wanted: BlobSource
    path: Path
    offset: int = 0


Deliver = Callable[[BlobPlace, Work], None]


def fetch_blobs(
    places: Sequence[BlobPlace], *, deliver: Deliver, jobs: int, progress: Advance
) -> None:
    """Have all blobs delivered to their places, `jobs` at a time, the largest first.

    `progress` is called with the bytes that arrived since its last call, by one thread at a
    time. A blob that is missing or wrong does not keep the others from being fetched, and all such
    failures are reported together; any other error stops the others: DependencyError when a
    registry fails, HostError when the disk is full.
    """
    work = Work(progress)
    work.run(
        lambda place: deliver(place, work),
        sorted(places, key=lambda place: -place.wanted.blob.size),
        jobs=jobs,
        what="blobs",
        lasting=OF_ONE_BLOB,
    )


@dataclass(frozen=True, slots=True)
class DirectDelivery:
    """Writes blobs to their places as they arrive, resuming where an earlier run stopped."""

    journal: Journal
    flusher: Flusher

    def __call__(self, place: BlobPlace, work: Work) -> None:
        """Fetch the blob; raises as `resume_blob`."""
        digest = place.wanted.blob.digest
        with opened(place.path, os.O_WRONLY) as descriptor:

            def note(count: int, new: int) -> None:
                self.journal.record(digest, count)
                if new:
                    self.flusher.wrote(descriptor, new)

            known = self.journal.known(digest)
            landing = Landing(place.path, descriptor, place.offset, known, note)
            resume_blob(place.wanted, landing, work)


@dataclass(frozen=True, slots=True)
class LayerCacheDelivery:
    """Brings blobs to their places through the layer cache."""

    cache: LayerCache

    def __call__(self, place: BlobPlace, work: Work) -> None:
        """Fetch the blob if need be, and put it into its place; raises as `LayerCache.get`.

        A file that is only the blob becomes a hard link to the one in the cache, where that is
        possible. Else the blob is copied, and checked on the way.
        """
        path = self.cache.get(place.wanted, work)
        if not _link(path, place):
            try:
                _copy(path, place, work)
            except OF_ONE_BLOB:
                # It was changed with its time kept, or the disk is failing.
                path.unlink(missing_ok=True)
                _copy(self.cache.get(place.wanted, work), place, work)


def _link(path: Path, place: BlobPlace) -> bool:
    """Make the place a hard link to `path`; False for more than the blob, or where not possible."""
    if place.offset or place.path.stat().st_size != place.wanted.blob.size:
        return False
    link = place.path.with_name(f"{place.path.name}.link")
    try:
        link.unlink(missing_ok=True)
        link.hardlink_to(path)
        link.replace(place.path)
    except OSError:
        return False
    return True


def _copy(path: Path, place: BlobPlace, work: Work) -> None:
    blob = place.wanted.blob
    with opened(place.path, os.O_WRONLY) as descriptor:
        # Its bytes were reported when they came to the layer cache.
        sink = FileSink(descriptor, place.offset, Work(cancel=work.cancel))
        check = BlobCheck(blob, sink, where=str(path), error=WrongBytesError)
        copy_blob(Content.of_source(FileRange(path), blob.size), check)
