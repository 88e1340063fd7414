"""Names of tests: the same whenever they are collected, or the workers of one run disagree."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_what_is_compressed_has_no_time_in_it() -> None:
    """What tests are parametrized with is in their names; gzip's header has the clock's seconds."""
    sources = {path: path.read_text() for path in TESTS.rglob("*.py")}
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path, text in sources.items()
        if "gzip.compress(" in text
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "gzip.compress"
        and all(each.arg != "mtime" for each in node.keywords)
    ]
    assert not found, "give mtime=0"
