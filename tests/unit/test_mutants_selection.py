"""Which mutants a history selects, in a real repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.selection import COMMITS, MOST, PARTS, SECONDS, by_change, by_words

_NOW = 1_800_000_000
_FILES = ("imager/one.py", "imager/two.py", "tests/test_one.py", "tests/test_two.py")
ONE = Mutant("one is lost", "imager/one.py", "1", "2", "tests/test_one.py::test_one")
TWO = Mutant("two is lost", "imager/two.py", "1", "2", "tests/test_two.py::test_two")
BOTH = (ONE, TWO)
MANY = tuple(
    Mutant(f"number {number}", "imager/one.py", "1", "2", "tests/test_one.py::test_one")
    for number in range(200)
)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository whose files are as old as can be, with empty commits on top."""
    folder = tmp_path_factory.mktemp("old")
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name in _FILES:
        write(folder, name)
    for _ in range(COMMITS + 1):
        commit(folder, at=0)
    return folder


@pytest.fixture
def repository(old: Path, tmp_path: Path) -> Path:
    """Return a copy of it to work on."""
    return Path(shutil.copytree(old, tmp_path / "repository"))


def git(repository: Path, *arguments: str, at: int = _NOW) -> None:
    who = {"NAME": "A", "EMAIL": "a@example.org", "DATE": f"@{at} +0000"}
    env = {f"GIT_{role}_{key}": who[key] for role in ("AUTHOR", "COMMITTER") for key in who}
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    argv = ["git", "-C", str(repository), *arguments]
    subprocess.run(argv, check=True, capture_output=True, env={**os.environ, **env, **nobody})


def write(repository: Path, name: str, text: str = "1\n") -> None:
    path = repository / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)


def commit(repository: Path, *, at: int = _NOW) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "Change it", at=at)


def change(repository: Path, name: str, *, at: int = _NOW) -> None:
    write(repository, name, f"{at}\n")
    commit(repository, at=at)


def changed(repository: Path) -> set[Mutant]:
    """Return what is selected whoever's turn it is: what that is at one commit and at the next."""
    first = set(by_change(BOTH, repository).mutants)
    commit(repository)
    return first & set(by_change(BOTH, repository).mutants)


@pytest.mark.parametrize("name", ["imager/one.py", "tests/test_one.py"])
def test_a_file_or_the_file_of_a_test_that_changed(repository: Path, name: str) -> None:
    assert changed(repository) == set()
    change(repository, name)
    assert changed(repository) == {ONE}


def test_a_mutant_that_is_new(repository: Path) -> None:
    write(repository, "tests/mutants/definitions/a.py", f'    Mutant(\n        "{ONE.what}",\n')
    assert changed(repository) == {ONE}


def test_the_last_commits_count_however_old_they_are(repository: Path) -> None:
    change(repository, "imager/one.py", at=2)
    for _ in range(COMMITS - 2):
        commit(repository)
    assert changed(repository) == {ONE}
    commit(repository)
    assert changed(repository) == set()


def test_the_last_two_days_count_however_many_commits_they_have(repository: Path) -> None:
    change(repository, "imager/two.py", at=_NOW - SECONDS - 1)
    change(repository, "imager/one.py", at=_NOW - SECONDS)
    for _ in range(2 * COMMITS):
        commit(repository)
    assert changed(repository) == {ONE}


def test_what_a_merge_brings_counts(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "side")
    change(repository, "imager/one.py")
    git(repository, "checkout", "--quiet", "main")
    git(repository, "merge", "--quiet", "--no-ff", "--message", "Merge it", "side")
    assert changed(repository) == {ONE}


def test_the_work_tree_counts(repository: Path) -> None:
    write(repository, "imager/one.py", "3\n")
    (repository / "tests" / "test_two.py").unlink()
    git(repository, "add", "imager/one.py")
    assert set(by_change(BOTH, repository).mutants) == set(BOTH)


def test_each_of_the_others_has_its_turn_once(repository: Path) -> None:
    turns: list[Mutant] = []
    for _ in range(PARTS):
        commit(repository)
        selection = by_change(MANY, repository)
        assert selection == by_change(MANY, repository)
        assert selection.why == (
            f"0 of 0 that the last {COMMITS} commits or the work tree changed, "
            f"{len(selection.mutants)} whose turn it is"
        )
        assert 0 < len(selection.mutants) < len(MANY) / 5
        turns += selection.mutants
    assert sorted(turns, key=MANY.index) == list(MANY)


def test_of_very_many_each_commit_selects_others(repository: Path) -> None:
    many = tuple(replace(ONE, what=f"number {number}") for number in range(MOST + 50))
    change(repository, "imager/one.py")
    first = by_change(many, repository)
    assert len(first.mutants) == MOST
    assert first.why.startswith(f"{MOST} of {len(many)} that the last ")
    commit(repository)
    assert set(first.mutants) | set(by_change(many, repository).mutants) == set(many)


def test_without_a_whole_history_all_are_selected(repository: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth", "21", f"file://{repository}", str(shallow))
    unpacked = repository / "unpacked"
    unpacked.mkdir()
    alone = tmp_path / "alone"
    alone.mkdir()
    for place in (shallow, unpacked, alone):
        selection = by_change(BOTH, place)
        assert selection.mutants == BOTH
        assert "no whole history" in selection.why


def test_without_git_all_are_selected(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert by_change(BOTH, repository).mutants == BOTH


def test_words_select_by_file_or_description() -> None:
    assert by_words(BOTH, ["one.py"]).mutants == (ONE,)
    assert by_words(BOTH, ["two is", "one is"]).mutants == BOTH
