"""Jobs in threads, for what waits: several at a time, ended together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Generic, TypeVar

from imager.support.errors import ImagerError, joined
from imager.support.reporter import Advance

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class CancelledError(Exception):
    """The work is not wanted any more."""


class Cancel:
    """Ends work in other threads: one thread sets it, the others check it between two steps."""

    def __init__(self, outer: Cancel | None = None) -> None:
        """Make a token that `outer` sets as well."""
        self._event = threading.Event()
        self._outer = outer

    def set(self) -> None:
        """Make every further `check` raise."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether the work is to end."""
        return self._event.is_set() or (self._outer is not None and self._outer.is_set)

    def check(self) -> None:
        """Raise CancelledError when the work is to end."""
        if self.is_set:
            raise CancelledError


def _ignore(_count: int) -> None:
    pass


class OnceEach(Generic[_Key, _Value]):
    """Values by key, each made once, by the first of several threads that needs it."""

    def __init__(self, make: Callable[[_Key], _Value]) -> None:
        self._make = make
        self._values: dict[_Key, _Value] = {}
        self._locks: dict[_Key, threading.Lock] = {}

    def get(self, key: _Key) -> _Value:
        """Return the value of `key`; raises as what makes it, which is tried again then."""
        with self._locks.setdefault(key, threading.Lock()):
            if key not in self._values:
                self._values[key] = self._make(key)
            return self._values[key]


@contextmanager
def worker_pool(jobs: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of `jobs` threads.

    When the block fails, jobs that have not begun are dropped and running ones are not waited
    for: a thread may be held up by a registry that has fallen silent.
    """
    pool = ThreadPoolExecutor(jobs, name)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


class Work:
    """What several threads work on: its progress, and whether it is to end.

    `cancel` ends this work alone; it also ends with the `cancel` it is made with.
    """

    def __init__(self, progress: Advance = _ignore, cancel: Cancel | None = None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self.cancel = Cancel(cancel)

    def check(self) -> None:
        """Raise CancelledError when the work is to end."""
        self.cancel.check()

    def advance(self, count: int) -> None:
        """Report `count` more bytes, one thread at a time; nothing once the work is to end."""
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
        """Return what `do` returns for each of `items`, in their order, `jobs` at a time.

        An error of `lasting` concerns one item: the others are done all the same. Any other error
        ends the work. Raises one error for all that failed, which are of `what`.
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
