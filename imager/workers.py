"""Threads for what waits: network answers that may be long in coming."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


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
