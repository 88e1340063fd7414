"""Every mutant breaks a line that is there, and names one test that is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

from tests.mutants.definitions import all_mutants
from tests.mutants.verdict import stale

ROOT = Path(__file__).parents[2]


@cache
def defined_in(file: str) -> frozenset[str]:
    """Return the tests that a module defines, without their cases."""
    return frozenset(re.findall(r"^ *def (test_\w+)\(", (ROOT / file).read_text(), re.MULTILINE))


def test_every_mutant_has_its_line() -> None:
    assert [text for each in all_mutants() if (text := stale(each, ROOT))] == []


def test_every_mutant_is_python() -> None:
    """A module that cannot be loaded fails every test, and shows nothing of what they look at."""
    for each in all_mutants():
        if not each.file.endswith(".py"):
            continue
        broken = (ROOT / each.file).read_text("utf-8").replace(each.old, each.new)
        compile(broken, f"{each.file} ({each.what})", "exec", dont_inherit=True)


def test_no_mutant_comes_twice() -> None:
    mutants = all_mutants()
    for key in (
        [each.what for each in mutants],
        [(each.file, each.old, each.new) for each in mutants],
    ):
        assert [each for each, count in Counter(key).items() if count > 1] == []


def test_every_mutant_names_one_test() -> None:
    named = {tuple(each.test.partition("[")[0].split("::")) for each in all_mutants()}
    files = [names for names in named if len(names) != 2 or not (ROOT / names[0]).is_file()]
    assert files == []
    assert [f"{file}::{test}" for file, test in named if test not in defined_in(file)] == []


def test_every_case_that_a_mutant_names_is_collected() -> None:
    cases = sorted({each.test for each in all_mutants() if "[" in each.test})
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*argv, *cases], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout
