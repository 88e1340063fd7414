"""Threads for what waits: network answers that may be long in coming."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from imager.support.reporter import Advance


@contextmanager
def worker_pool(jobs: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of `jobs` threads.

    When the block fails, what has not begun is dropped and what is running is not waited for: a
    thread may be held up by a registry that has fallen silent.
    """
    pool = ThreadPoolExecutor(jobs, name)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


class _StoppedError(Exception):
    """Another thread has failed."""


class SharedProgress:
    """One progress for several threads, which also stops them."""

    def __init__(self, progress: Advance) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Make every further `advance` raise: its thread has nothing left to do."""
        self._stopped.set()

    def advance(self, count: int) -> None:
        """Tell of `count` bytes more."""
        if self._stopped.is_set():
            raise _StoppedError
        with self._lock:
            self._progress(count)
