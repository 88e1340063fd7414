"""`python -m tests.mutants [--changed | WORD...]`: break the code, and see that tests go red.

The tests must be green on an unbroken copy of the tree first; then each mutant, in a copy of its
own, must make its test fail. With words, only mutants that name one of them are run; with
`--changed`, those that the history asks for. The exit code is 0 when none survives.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from zlib import crc32

from tests.mutants.definitions import all_mutants
from tests.mutants.forking import Place, Task, run_tasks
from tests.mutants.mutant import Mutant
from tests.mutants.selection import Selection, by_change, by_words
from tests.mutants.trees import REPOSITORY, copy_tree
from tests.mutants.verdict import not_green, not_noticed, stale

# More than there are processors: some tests only wait for what a break keeps from coming.
_AT_A_TIME = 2 * (os.cpu_count() or 1)
_CONTROL_LIMIT = 1200
_LONG = 4
# Tests wait for a minute, some twice, before they say that something did not come.
_LEAST_LIMIT = 150
_TIMES_SLOWER = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: `problem` is empty when its test noticed it."""

    mutant: Mutant
    seconds: float
    problem: str


def main(arguments: Sequence[str]) -> int:
    """Run the mutants that are asked for; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    selection = _selection(arguments)
    texts = [text for each in selection.mutants if (text := stale(each, REPOSITORY))]
    if texts:
        _say("\n".join(texts))
        return 2
    with (
        tempfile.TemporaryDirectory(prefix="imager-mutants-") as folder,
        closing(_outcomes(selection.mutants, Path(folder))) as found,
    ):
        outcomes = list(found)
    failed = [outcome for outcome in outcomes if outcome.problem]
    for outcome in failed:
        _say(f"not noticed:\n{_line(outcome)}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    _say(
        f"{len(outcomes) - len(failed)} of {len(selection.mutants)} mutants noticed in "
        f"{time.monotonic() - started:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processors"
    )
    return 0 if len(outcomes) == len(selection.mutants) and not failed else 1


def _selection(arguments: Sequence[str]) -> Selection:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--changed", action="store_true")
    which.add_argument("words", nargs="*", metavar="WORD", default=[])
    asked = parser.parse_args(arguments)
    mutants = all_mutants()
    if asked.changed:
        selection = by_change(mutants, REPOSITORY)
    elif asked.words:
        selection = by_words(mutants, asked.words)
        if not selection.mutants:
            parser.error(f"no mutant names {' or '.join(asked.words)}")
    else:
        selection = Selection(mutants, "all")
    _say(f"{len(selection.mutants)} of {len(mutants)} mutants: {selection.why}")
    return selection


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _outcomes(mutants: Sequence[Mutant], folder: Path) -> Generator[Outcome]:
    """Run the tests on an unbroken copy, then yield what became of each mutant."""
    workers = [folder / str(number) for number in range(_AT_A_TIME)]
    whole = copy_tree(folder / "whole")
    seconds: dict[str, float] = {}
    with closing(run_tasks(_controls(mutants), [Place(whole, each) for each in workers])) as runs:
        for task, report in runs:
            if text := not_green(report):
                _say(f"not green without a mutant:\n{text}")
                return
            seconds |= dict.fromkeys(task.tests, report.seconds)
    _say(f"{len(seconds)} tests are green without a mutant")
    # Copied with what has been compiled.
    places = [Place(Path(shutil.copytree(whole, each / "tree")), each) for each in workers]
    tasks = [Task((each.test,), _limit(seconds[each.test]), each) for each in mutants]
    tasks.sort(key=partial(_rank, seconds))
    with closing(run_tasks(tasks, places)) as runs:
        for task, report in runs:
            assert task.mutant
            outcome = Outcome(task.mutant, report.seconds, not_noticed(report))
            _say(_line(outcome))
            yield outcome


def _controls(mutants: Sequence[Mutant]) -> Iterator[Task]:
    """Yield the tests of all mutants, those of one file together."""
    tests = sorted({each.test for each in mutants})
    for _file, group in groupby(tests, key=lambda test: test.partition("::")[0]):
        yield Task(tuple(group), _CONTROL_LIMIT)


def _rank(seconds: Mapping[str, float], task: Task) -> tuple[bool, int]:
    """Return a key that puts first, but mixed, the tests of files that take long."""
    (test,) = task.tests
    return seconds[test] < _LONG, crc32(repr(task.mutant).encode())


def _limit(seconds: float) -> float:
    """Return how long a test may take that took `seconds`, with the others of its file."""
    return max(_LEAST_LIMIT, _TIMES_SLOWER * seconds)


def _line(outcome: Outcome) -> str:
    verdict = outcome.problem or "noticed"
    place = outcome.mutant.file.removeprefix("imager/")
    return f"{outcome.seconds:5.1f} s  {verdict:<9}  {place:<26} {outcome.mutant.what}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
