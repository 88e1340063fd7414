"""Run blocking jobs in threads, several in parallel, with shared cancellation."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Generic, Self, TypeVar

from imager.support.errors import ImagerError, joined
from imager.support.reporter import Advance

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class CancelledError(Exception):
    """The work was cancelled."""


class Cancel:
    """A cancellation token: one thread sets it, the others check it between steps.

    As a context it is set at the end of the block. Inside of a pool's context it must be entered
    before the pool gets work: whatever ends the block, a signal too, the pool then waits for
    steps alone, not for all of the work.
    """

    def __init__(self, outer: Cancel | None = None) -> None:
        """Create a token that is also set when `outer` is."""
        self._event = threading.Event()
        self._outer = outer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.set()

    def set(self) -> None:
        """Make every further `check` raise."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether the work is cancelled."""
        return self._event.is_set() or (self._outer is not None and self._outer.is_set)

    def check(self) -> None:
        """Raise CancelledError if the work is cancelled."""
        if self.is_set:
            raise CancelledError


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


class OnceEach(Generic[_Key, _Value]):
    """A cache by key; the first thread that needs a value creates it, once."""

    def __init__(self, make: Callable[[_Key], _Value]) -> None:
        self._make = make
        self._values: dict[_Key, _Value] = {}
        self._locks: dict[_Key, threading.Lock] = {}

    def get(self, key: _Key) -> _Value:
        """Return the value of `key`; raises like `make`, which the next call then retries."""
        with self._locks.setdefault(key, threading.Lock()):
            if key not in self._values:
                self._values[key] = self._make(key)
            return self._values[key]


@contextmanager
def worker_pool(jobs: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of `jobs` threads.

    If the block fails, queued jobs are dropped and running ones are not awaited: a thread may be
    blocked by an unresponsive registry.
    """
    pool = ThreadPoolExecutor(jobs, name)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


class Work:
    """State shared by several threads: progress and cancellation.

    `cancel` cancels only this work; cancelling the token passed at creation cancels it too.
    """

    def __init__(self, progress: Advance = lambda _: None, cancel: Cancel | None = None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self.cancel = Cancel(cancel)

    def check(self) -> None:
        """Raise CancelledError if the work is cancelled."""
        self.cancel.check()

    def advance(self, count: int) -> None:
        """Report `count` more bytes, one thread at a time; no effect once cancelled."""
        with self._lock:
            if not self.cancel.is_set:
                self._progress(count)

    def run(
        self,
        do: Callable[[_Item], _Result],
        items: Iterable[_Item],
        *,
        jobs: int,
        what: str,
        lasting: tuple[type[ImagerError], ...] = (),
    ) -> list[_Result]:
        """Call `do` for each of `items`, `jobs` in parallel; return the results in order.

        An error of a type in `lasting` concerns one item: the others continue. Any other error
        cancels the work. Raises one error for all failures, which `what` describes.
        """
        failures: dict[Future[_Result], ImagerError] = {}
        try:
            with worker_pool(jobs, what) as pool:
                running = [pool.submit(do, item) for item in items]
                for each in as_completed(running):
                    match each.exception():
                        case ImagerError() as error:
                            failures[each] = error
                            if not isinstance(error, lasting):
                                raise joined([*failures.values()], what=what)
                        case BaseException() as error:
                            raise error
        except BaseException:
            self.cancel.set()
            raise
        if failures:
            raise joined([failures[each] for each in running if each in failures], what=what)
        return [each.result() for each in running]
