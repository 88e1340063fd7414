"""Checking digests beside a copy: the sources are hashed on another core while they are copied.

Each source file is read once, front to back; where checks overlap (a layer, and the blobs
inside it) the same bytes feed all of them, in parallel.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from imager.errors import InputError, OutputError
from imager.extents import FileRange

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK = 2 << 20


@dataclass(frozen=True, slots=True)
class Check:
    """`length` bytes of `source` must have the SHA-256 `sha256` (hex); `what` names them."""

    what: str
    source: FileRange
    length: int
    sha256: str

    @property
    def end(self) -> int:
        """The byte of the source file after the last one."""
        return self.source.offset + self.length


@dataclass(slots=True)
class _Running:
    check: Check
    hash: _Hash = field(default_factory=hashlib.sha256)


class _CancelledError(Exception):
    pass


@contextmanager
def checking(checks: Sequence[Check]) -> Iterator[Callable[[], None]]:
    """Run `checks` in the background while the block runs, and wait for them at its end.

    Yields a function that raises InputError as soon as one has failed; the end of the block
    raises it too. When the block itself fails, the checks are stopped.
    """
    cancelled = threading.Event()
    with ThreadPoolExecutor(1, "check") as pool:
        running: Future[None] = pool.submit(run_checks, checks, cancelled=cancelled)

        def raise_failed() -> None:
            if running.done():
                running.result()

        try:
            yield raise_failed
            running.result()
        finally:
            cancelled.set()


def run_checks(checks: Sequence[Check], *, cancelled: threading.Event | None = None) -> None:
    """Run all checks; raises InputError at the first that does not match."""
    ordered = sorted(checks, key=lambda check: (check.source.path, check.source.offset))
    with ThreadPoolExecutor(1, "hash") as pool, suppress(_CancelledError):
        hasher = _Hasher(pool, cancelled or threading.Event())
        for path, group in groupby(ordered, key=lambda check: check.source.path):
            _check_file(path, list(group), hasher)


def _check_file(path: Path, checks: list[Check], hasher: _Hasher) -> None:
    boundaries = sorted({edge for check in checks for edge in (check.source.offset, check.end)})
    waiting = list(reversed(checks))
    active: list[_Running] = []
    try:
        with path.open("rb", buffering=0) as file:
            for start, end in zip(boundaries, [*boundaries[1:], boundaries[-1]], strict=True):
                _finish(active, start)
                while waiting and waiting[-1].source.offset == start:
                    active.append(_Running(waiting.pop()))
                _finish(active, start)
                if active:
                    hasher.feed(file.fileno(), range(start, end), active)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error


def _finish(active: list[_Running], position: int) -> None:
    for running in [running for running in active if running.check.end == position]:
        active.remove(running)
        if running.hash.hexdigest() != running.check.sha256:
            raise InputError(
                f"{running.check.what} does not match its digest sha256:{running.check.sha256}",
                hint="it is damaged: copy or make it again",
            )


@dataclass(frozen=True, slots=True)
class _Hasher:
    pool: ThreadPoolExecutor
    cancelled: threading.Event

    def feed(self, descriptor: int, span: range, active: Sequence[_Running]) -> None:
        """Read the bytes of `span` once and give them to all active checks, in parallel."""
        for offset in range(span.start, span.stop, _CHUNK):
            if self.cancelled.is_set():
                raise _CancelledError
            size = min(_CHUNK, span.stop - offset)
            chunk = os.pread(descriptor, size, offset)
            if len(chunk) != size:
                check = active[-1].check
                raise InputError(
                    f"{check.source.path} ends at byte {offset + len(chunk)}, in {check.what}",
                    hint="it is truncated: copy or make it again",
                )
            others = [self.pool.submit(running.hash.update, chunk) for running in active[1:]]
            active[0].hash.update(chunk)
            for other in others:
                other.result()
