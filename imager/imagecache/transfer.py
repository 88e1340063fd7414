"""Bringing blobs to their places: several at a time, each checked on the way."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from imager.copier import write_error
from imager.imagecache.gather import BlobSource
from imager.reporter import Advance
from imager.workers import worker_pool


@dataclass(frozen=True, slots=True)
class BlobPlace:
    """Where a remote blob goes: into the existing file `path`, from byte `offset` on."""

    source: BlobSource
    path: Path
    offset: int = 0


def fetch_blobs(places: Sequence[BlobPlace], *, jobs: int, progress: Advance) -> None:
    """Fetch all blobs to their places, `jobs` at a time, the largest first.

    `progress` is called with the bytes that have come since its last call, by one thread at a
    time, and may raise to stop. Raises the first error that meets a blob: DependencyError when a
    registry fails or sends other bytes, HostError when the disk is full; the others are stopped.
    """
    ordered = sorted(places, key=lambda place: -place.source.blob.size)
    shared = _SharedProgress(progress)
    try:
        with worker_pool(jobs, "fetch") as pool:
            fetches = [pool.submit(_fetch, place, shared) for place in ordered]
            for fetch in as_completed(fetches):
                fetch.result()
    finally:
        shared.stop()


def _fetch(place: BlobPlace, progress: _SharedProgress) -> None:
    descriptor = os.open(place.path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        sink = _PlaceSink(descriptor, place.offset, progress)
        place.source.source.fetch_blob(place.source.blob, sink)
    finally:
        os.close(descriptor)


class _StoppedError(Exception):
    """Another blob has failed."""


class _SharedProgress:
    """One progress for several threads, which also stops them."""

    def __init__(self, progress: Advance) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def advance(self, count: int) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        with self._lock:
            self._progress(count)


class _PlaceSink:
    """Writes what it gets to the file, from byte `offset` on."""

    def __init__(self, target: int, offset: int, progress: _SharedProgress) -> None:
        self._target = target
        self._offset = offset
        self._progress = progress

    def write(self, data: bytes) -> None:
        """Write `data` behind what was written before; raises HostError when the disk is full."""
        view = memoryview(data)
        while view:
            try:
                done = os.pwrite(self._target, view, self._offset)
            except OSError as error:
                raise write_error(error) from error
            self._offset += done
            view = view[done:]
        self._progress.advance(len(data))
