"""Checking digests beside a copy: the sources are hashed on another core while they are copied.

Each source file is read once, front to back; where checks overlap (a layer, and the blobs
inside it) the same bytes feed all of them, in parallel. Blobs in pieces, as in the file system
of an image, are read piece by piece.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from imager.content.extents import Content, FileRange
from imager.content.reading import iterate_bytes
from imager.support.errors import Fail, ImagerError, InputError, OutputError, stop_at
from imager.support.workers import Cancel, CancelledError, Work

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


@dataclass(frozen=True, slots=True)
class ScatteredCheck:
    """The bytes of `content`, ranges of files and holes, must have the SHA-256 `sha256` (hex)."""

    what: str
    content: Content
    sha256: str

    @property
    def length(self) -> int:
        """How many bytes are hashed."""
        return self.content.size


AnyCheck = Check | ScatteredCheck


@dataclass(slots=True)
class _Running:
    check: Check
    hash: _Hash = field(default_factory=hashlib.sha256)


@contextmanager
def checking(checks: Sequence[AnyCheck]) -> Iterator[Callable[[], None]]:
    """Run `checks` in the background while the block runs, and wait for them at its end.

    Yields a function that raises InputError as soon as one has failed; the end of the block
    raises it too. When the block itself fails, the checks are stopped.
    """
    cancel = Cancel()
    with ThreadPoolExecutor(1, "check") as pool:
        running: Future[None] = pool.submit(run_checks, checks, cancel=cancel)

        def raise_failed() -> None:
            if running.done():
                running.result()

        try:
            yield raise_failed
            running.result()
        finally:
            cancel.set()


def run_checks(checks: Sequence[AnyCheck], *, cancel: Cancel | None = None) -> None:
    """Run all checks; raises InputError at the first that does not match."""
    with ThreadPoolExecutor(1, "hash") as pool, suppress(CancelledError):
        hasher = _Hasher(pool, Work(cancel=cancel))
        for path, group in _by_file(checks):
            _check_file(path, group, hasher, stop_at)
        for check in _scattered(checks):
            _check_scattered(check, hasher, stop_at)


def failed_checks(
    checks: Sequence[AnyCheck], *, jobs: int, progress: Callable[[int], None]
) -> tuple[ImagerError, ...]:
    """Run all checks to their end, `jobs` files at a time; return the failures, by file and offset.

    Contents in pieces come last, one by one.

    `progress` is called with the bytes hashed since its last call, by one thread at a time: in all
    the lengths of the checks that could be read.
    """
    work = Work(progress)
    with ThreadPoolExecutor(jobs, "hash") as pool:
        hasher = _Hasher(pool, work)
        waiting = [partial(_check_file, path, group, hasher) for path, group in _by_file(checks)]
        waiting += [partial(_check_scattered, check, hasher) for check in _scattered(checks)]
        found = work.run(_failures, waiting, jobs=jobs, what="checks")
    return tuple(failure for each in found for failure in each)


def _by_file(checks: Sequence[AnyCheck]) -> Iterator[tuple[Path, list[Check]]]:
    """Yield the checks of each file, in its order, without those of contents in pieces."""
    plain = [check for check in checks if isinstance(check, Check)]
    plain.sort(key=lambda check: (check.source.path, check.source.offset))
    for path, group in groupby(plain, key=lambda check: check.source.path):
        yield path, list(group)


def _scattered(checks: Sequence[AnyCheck]) -> list[ScatteredCheck]:
    return [check for check in checks if isinstance(check, ScatteredCheck)]


def _failures(check: Callable[[Fail], None]) -> list[ImagerError]:
    failures: list[ImagerError] = []
    try:
        check(failures.append)
    except ImagerError as error:
        failures.append(error)
    return failures


def _check_file(path: Path, checks: list[Check], hasher: _Hasher, fail: Fail) -> None:
    boundaries = sorted({edge for check in checks for edge in (check.source.offset, check.end)})
    waiting = list(reversed(checks))
    active: list[_Running] = []
    try:
        with path.open("rb", buffering=0) as file:
            for start, end in zip(boundaries, [*boundaries[1:], boundaries[-1]], strict=True):
                _finish(active, start, fail)
                while waiting and waiting[-1].source.offset == start:
                    active.append(_Running(waiting.pop()))
                _finish(active, start, fail)
                if active:
                    hasher.feed(file.fileno(), range(start, end), active)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error


def _finish(active: list[_Running], position: int, fail: Fail) -> None:
    for running in [running for running in active if running.check.end == position]:
        active.remove(running)
        if running.hash.hexdigest() != running.check.sha256:
            fail(_mismatch(running.check))


def _check_scattered(check: ScatteredCheck, hasher: _Hasher, fail: Fail) -> None:
    if hasher.hash(check.content) != check.sha256:
        fail(_mismatch(check))


def _mismatch(check: AnyCheck) -> InputError:
    return InputError(
        f"{check.what} does not match its digest sha256:{check.sha256}",
        hint="it is damaged: copy or make it again",
    )


@dataclass(frozen=True, slots=True)
class _Hasher:
    pool: ThreadPoolExecutor
    work: Work

    def feed(self, descriptor: int, span: range, active: Sequence[_Running]) -> None:
        """Read the bytes of `span` once and give them to all active checks, in parallel."""
        for offset in range(span.start, span.stop, _CHUNK):
            self.work.check()
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
            self.work.advance(size * len(active))

    def hash(self, content: Content) -> str:
        """Return the SHA-256 (hex) of `content`."""
        digest = hashlib.sha256()
        for data in iterate_bytes(content):
            self.work.check()
            digest.update(data)
            self.work.advance(len(data))
        return digest.hexdigest()
