"""The figures of the architecture's table: lines of files, code and functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.tools import sizes

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
