"""Which mutants a change asks for: those that it touches, and a rotating part of the others."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant

SECONDS = 48 * 3600
COMMITS = 20
PARTS = 20
# So many fit into the time that `make test-all` may take.
MOST = 450


@dataclass(frozen=True, slots=True)
class Selection:
    """The mutants to run, and why those."""

    mutants: tuple[Mutant, ...]
    why: str


def by_words(mutants: Sequence[Mutant], words: Sequence[str]) -> Selection:
    """Return those whose file or description has one of `words` in it."""
    chosen = (each for each in mutants if any(word in f"{each.file} {each.what}" for word in words))
    return Selection(tuple(chosen), f"those that name {' or '.join(words)}")


def by_change(mutants: Sequence[Mutant], repository: Path) -> Selection:
    """Return those that recent commits or the work tree changed, and a twentieth of the others.

    Recent is what is at most 48 hours older than the last commit, and the last 20 commits in any
    case. A mutant changes with its file, with the file of its test, and when it is written itself.
    If more than MOST have changed, each commit selects others of them.
    Each of the others has its turn at one of any 20 commits in a row; the same commit always
    selects the same. Where the history is not there as a whole nothing tells what has changed, so
    all are selected.
    """
    if _git(repository, "rev-parse", "--is-shallow-repository", "--show-prefix") != "false\n\n":
        return Selection(tuple(mutants), "all: there is no whole history to tell what changed")
    last = int(_git(repository, "log", "-1", "--format=%ct"))
    count = max(COMMITS, _number_of_commits(repository, f"--since={last - SECONDS}"))
    files, added = _changes(repository, count)
    changed = {
        each for each in mutants if not files.isdisjoint(each.files) or f'"{each.what}",\n' in added
    }
    number = _number_of_commits(repository)
    others = {each for each in mutants if _hash(each) % PARTS == number % PARTS} - changed
    chosen = set(sorted(changed, key=lambda each: _hash(each, f"{number}"))[:MOST])
    return Selection(
        tuple(each for each in mutants if each in chosen or each in others),
        f"{len(chosen)} of {len(changed)} that the last {count} commits or the work tree changed, "
        f"{len(others)} whose turn it is",
    )


def _hash(mutant: Mutant, salt: str = "") -> int:
    return zlib.crc32(f"{salt}{mutant.file} {mutant.what}".encode())


def _number_of_commits(repository: Path, *which: str) -> int:
    return int(_git(repository, "rev-list", "--count", *which, "HEAD"))


def _changes(repository: Path, count: int) -> tuple[frozenset[str], str]:
    """Return the files that the last commits and the work tree changed, and the lines they added.

    Of a merge only what it has of neither side counts: its sides are among the commits.
    """
    log = ("log", f"--max-count={count}", "--format=", "--diff-merges=dense-combined")
    untracked = _git(repository, "ls-files", "--others", "--exclude-standard").splitlines()
    names = [
        *_git(repository, *log, "--name-only").splitlines(),
        *_git(repository, "diff", "--name-only", "HEAD").splitlines(),
        *untracked,
    ]
    here = ("--unified=0", "--", "tests/mutants")
    lines = [
        *_git(repository, *log, "--patch", *here).splitlines(keepends=True),
        *_git(repository, "diff", "HEAD", *here).splitlines(keepends=True),
    ]
    added = [line for line in lines if line.startswith("+")]
    texts = [(repository / name).read_text() for name in untracked if name.startswith(here[-1])]
    return frozenset(filter(None, names)), "".join([*added, *texts])


def _git(repository: Path, *arguments: str) -> str:
    """Return what git prints, nothing where it fails or is not there."""
    argv = ["git", "-c", "core.quotePath=false", *arguments]
    try:
        done = subprocess.run(argv, cwd=repository, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""
