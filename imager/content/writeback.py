"""Flush files in the background during writing, so that the final flush is short."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from imager.content.copier import write_error
from imager.support.units import MIB

# Large enough to keep flushes few, small enough to keep the last one short.
_FLUSH_EVERY = 128 * MIB


@contextmanager
def flushing() -> Iterator[Flusher]:
    """Yield a flusher; pending flushes are awaited at the end of the block.

    The kernel reports a write error only to the first flush after it, so the result of every
    flush is checked: raises HostError when the disk is full, OutputError when it fails.
    """
    with ThreadPoolExecutor(1, "flush") as pool:
        flusher = Flusher(pool)
        try:
            yield flusher
            flusher.wait()
        except OSError as error:
            raise write_error(error) from error
        finally:
            flusher.close()


class Flusher:
    """Flushes files in the background; any number of threads may write to them."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._waiting = 0
        # Duplicate the descriptor: the writer may close its own before the flush.
        self._files: dict[tuple[int, int], int] = {}
        self._flush: Future[None] | None = None

    def wrote(self, descriptor: int, count: int) -> None:
        """Record `count` bytes written to a file, ideally at least 1 MiB; may start a flush.

        Raises OSError when an earlier flush has failed.
        """
        with self._lock:
            self._waiting += count
            status = os.fstat(descriptor)
            if (file := (status.st_dev, status.st_ino)) not in self._files:
                self._files[file] = os.dup(descriptor)
            if self._waiting < _FLUSH_EVERY or (self._flush and not self._flush.done()):
                return
            self.wait()
            files, self._files, self._waiting = self._files, {}, 0
            self._flush = self._pool.submit(_flush, [*files.values()])

    def flush(self, descriptor: int) -> None:
        """Start to flush a whole file; raises OSError when an earlier flush has failed."""
        self.wait()
        self._flush = self._pool.submit(_flush, [os.dup(descriptor)])

    def wait(self) -> None:
        """Wait for the running flush; raises OSError when it fails."""
        if self._flush:
            self._flush.result()

    def close(self) -> None:
        """Drop the files for which no flush was started."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}


def _flush(descriptors: list[int]) -> None:
    try:
        for descriptor in descriptors:
            os.fdatasync(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
