"""The figures of the architecture's table: lines of files, code and functions."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import pytest

from tests.lib.tools import sizes
from tests.lib.tools.cli import REPOSITORY

TEXT = '''"""A module."""

# A comment.
def first() -> int:
    """Return one."""

    return 1  # another


async def second() -> None: ...
'''


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "module.py"
    path.write_text(TEXT)
    return path


def test_functions_have_their_lines(module: Path) -> None:
    assert list(sizes.functions(module)) == [(4, f"{module}: first"), (1, f"{module}: second")]


def test_comments_and_blank_lines_are_no_code(module: Path) -> None:
    assert sizes.lines_of_code(module) == 5


def test_the_longest_is_named() -> None:
    lengths = [(1, "a"), (70, "b"), (2, "c")]
    said = "3 x: median 2, 90 % at most 70, longest 70 (b), 1 over 60 lines"
    assert sizes.summary("x", lengths, 60) == said


def test_the_figures_of_the_architecture_are_right_within_a_twentieth() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| ([a-z9][^|]*) \| ([\d,]+) \|", text, re.MULTILINE)
    shown = {name: int(figure.replace(",", "")) for name, figure in rows}
    paths = sorted((REPOSITORY / "imager").rglob("*.py"))
    lengths = [lines(path) for path in paths]
    bodies = sorted(length for path in paths for length, _ in sizes.functions(path))
    present = {
        "modules": len(paths),
        "lines": sum(lengths),
        "of code": sum(map(sizes.lines_of_code, paths)),
        "median module": statistics.median_low(lengths),
        "modules over 300 lines": 0,
        "functions": len(bodies),
        "median function": statistics.median_low(bodies),
        "90 % of functions are at most": bodies[len(bodies) * 9 // 10],
        "functions over 60 lines": 0,
        "lines of tests": sum(map(lines, (REPOSITORY / "tests").rglob("*.py"))),
    }
    assert shown == pytest.approx(present, rel=0.05, abs=1)


def lines(path: Path) -> int:
    """Return the number of lines of a file."""
    return len(path.read_text().splitlines())
