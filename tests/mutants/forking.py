"""Tests run in forked children of this process, which has imported what they need of others.

A child has a keeper, which ends all that came of it and removes what it left:

    this process -> keeper -> child that runs pytest -> what the tests start

A child forgets what modules of ours are imported here, and imports those of its tree. What its
tests imported of others is imported here after it, for the children that come next.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Generator, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.mutants.mutant import Mutant
from tests.mutants.observing import OBSERVED, Observed, observe, read_observed, tell
from tests.mutants.trees import broken

_OUTPUT = "output"
_TOLD = 3000
_HUNG = 3
_GRACE = 20
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Place:
    """Where one child runs at a time: a tree, and a folder for what it leaves."""

    tree: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class Task:
    """Tests for one child, for at most `limit` seconds, in a tree that `mutant` breaks."""

    tests: tuple[str, ...]
    limit: float
    mutant: Mutant | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a task; `observed` is None when the child ended without a word or hung."""

    seconds: float
    hung: bool
    observed: Observed | None
    output: str


@dataclass(frozen=True, slots=True)
class _Running:
    task: Task
    place: Place
    started: float


def run_tasks(tasks: Iterable[Task], places: Iterable[Place]) -> Generator[tuple[Task, Report]]:
    """Run each task in a child of its own, as many at a time as there are places."""
    free = list(places)
    keepers: dict[int, _Running] = {}
    try:
        for task in tasks:
            if not free:
                yield _ended(keepers, free)
            place = free.pop()
            keepers[_start(task, place)] = _Running(task, place, time.monotonic())
        while keepers:
            yield _ended(keepers, free)
    finally:
        for pid in keepers:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def _ended(keepers: dict[int, _Running], free: list[Place]) -> tuple[Task, Report]:
    """Wait for one of the keepers; its place is free then."""
    pid, status = os.wait()
    running = keepers.pop(pid)
    seconds = time.monotonic() - running.started
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, _HUNG):
        # What it kept may still run, and its tree may be broken.
        raise RuntimeError(f"the keeper of {running.task} failed with {code}")
    place = running.place
    free.append(place)
    observed = None if code == _HUNG else read_observed(place.folder)
    if observed:
        _warm_up(observed.libraries)
    output = (place.folder / _OUTPUT).read_text(errors="replace")[-_TOLD:]
    return running.task, Report(seconds, code == _HUNG, observed, output)


def _warm_up(libraries: Iterable[str]) -> None:
    for name in libraries:
        if name not in sys.modules:
            with warnings.catch_warnings(), suppress(Exception):
                warnings.simplefilter("ignore")
                importlib.import_module(name)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise RuntimeError(f"a library has started {threads - 1} threads: nothing can be forked")


def _start(task: Task, place: Place) -> int:
    place.folder.mkdir(exist_ok=True)
    (place.folder / OBSERVED).unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _keep(task, place, parent)
    except KeyboardInterrupt:
        pass
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def _keep(task: Task, place: Place, parent: int) -> int:
    """Run the task in a child and leave nothing of it; return whether it hung."""
    os.setsid()  # only `run_tasks` interrupts it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        raise KeyboardInterrupt
    with (
        broken(place.tree, task.mutant) if task.mutant else nullcontext(),
        tempfile.TemporaryDirectory(
            prefix="t", dir=place.folder, ignore_cleanup_errors=True
        ) as temporary,
    ):
        try:
            child = os.fork()
            if not child:
                _be_child(task, place, Path(temporary))
            ended = _wait(child, task.limit)
        finally:
            _end(child)
    return 0 if ended else _HUNG


def _wait(child: int, seconds: float) -> bool:
    watched = os.pidfd_open(child)
    try:
        return bool(select.select([watched], [], [], seconds)[0])
    finally:
        os.close(watched)


def _end(child: int) -> None:
    """End the child and every process that came of it: what loses its parent becomes one of ours.

    The child may first take back what it mounted and attached, and tell where it was.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    own = os.getpid()
    if not _wait(child, 0):
        os.kill(child, signal.SIGINT)
        _wait(child, _GRACE)
    while True:
        for each in Path(f"/proc/{own}/task/{own}/children").read_text().split():
            os.kill(int(each), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _be_child(task: Task, place: Place, temporary: Path) -> NoReturn:
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        output = os.open(place.folder / _OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        tell(observe(place.tree, task.tests, temporary), place.folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
