"""Every mutant breaks a line that is there, and names tests that are."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.__main__ import ALL

ROOT = Path(__file__).parents[2]


def test_every_mutant_has_its_line() -> None:
    assert [each.what for each in ALL if (ROOT / each.file).read_text().count(each.old) != 1] == []


def test_every_mutant_has_its_tests() -> None:
    named = {test.partition("::")[0::2] for each in ALL for test in each.tests}
    missing = []
    for file, test in named:
        name = test.partition("[")[0].rpartition("::")[2]
        if f"def {name}" not in (ROOT / file).read_text():
            missing.append(f"{file}::{test}")
    assert missing == []
