"""Running commands one after another, in rounds, and what each took."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.lib.tools.cli import environment

_RUSAGE_BLOCK = 512
# Seconds in which the disk discards the space of a removed output: not even a sync waits for that.
_PAUSE = 1


@dataclass(frozen=True, slots=True)
class Case:
    """A command, and what it is held against: the slowest of the cases `against`, by name.

    The time of the cases `plus` is added to that. `limit` is the largest ratio allowed. `build`
    marks our own commands, which have a limit of memory, too; `written_limit` is the most that they
    may write for each byte of the output. `seconds_limit` is the most that the command may take by
    itself; with `cpu`, what counts is not the clock but the processor, in user and system mode.
    """

    name: str
    command: Sequence[str | Path]
    against: tuple[str, ...] = ()
    plus: tuple[str, ...] = ()
    limit: float | None = None
    build: bool = False
    written_limit: float | None = None
    seconds_limit: float | None = None
    cpu: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of the clock or processor; peak memory, bytes written, disk space of the output."""

    seconds: float
    peak: int
    written: int
    output: int


@dataclass(frozen=True, slots=True)
class Result:
    """All runs of a case."""

    case: Case
    runs: Sequence[Run]

    @property
    def seconds(self) -> float:
        """The median of the runs."""
        return median(run.seconds for run in self.runs)

    @property
    def peak(self) -> int:
        """The largest peak of the runs, in bytes."""
        return max(run.peak for run in self.runs)

    @property
    def written_ratio(self) -> float | None:
        """The most bytes written for each byte of the output; None without an output."""
        return max((run.written / run.output for run in self.runs if run.output), default=None)


def measure(cases: Sequence[Case], *, rounds: int, output: Path) -> list[Result]:
    """Run all cases in turn, `rounds` times, so that a slow moment hits them alike.

    Each round has another order, so that none always follows the same one. A case starts with an
    empty folder `output` and with nothing left to be written by the system.
    """
    runs: dict[str, list[Run]] = {case.name: [] for case in cases}
    for number in range(rounds):
        for case in random.Random(number).sample(cases, len(cases)):
            _empty(output)
            os.sync()
            time.sleep(_PAUSE)
            runs[case.name].append(_run(case, output))
    _empty(output)
    return [Result(case, runs[case.name]) for case in cases]


def by_name(results: Iterable[Result]) -> dict[str, Result]:
    """Return the results by the names of their cases."""
    return {result.case.name: result for result in results}


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _run(case: Case, output: Path) -> Run:
    started = time.monotonic()
    process = subprocess.Popen(
        case.command,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # The usage of the process and of the children it waited for. A page that was written to counts
    # as written when it becomes dirty, so there is no need to wait for the disk.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, case.command)
    return Run(
        seconds=usage.ru_utime + usage.ru_stime if case.cpu else seconds,
        peak=usage.ru_maxrss << 10,
        written=usage.ru_oublock * _RUSAGE_BLOCK,
        output=sum(
            path.lstat().st_blocks * _RUSAGE_BLOCK for path in output.rglob("*") if path.is_file()
        ),
    )
