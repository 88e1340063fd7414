"""`python -m tests.lib.tools.sizes FOLDER...`: how long Python's modules and functions are.

For the table in docs/architecture.md. Lines include blank ones; a line of code has a token that is
neither a comment nor a line break.
"""

from __future__ import annotations

import ast
import statistics
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

_NO_CODE = frozenset(
    {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENCODING, tokenize.ENDMARKER,
    }
)  # fmt: skip


def functions(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of each function of a module, and where it is."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or 0) - node.lineno + 1, f"{path}: {node.name}"


def lines_of_code(path: Path) -> int:
    """Return how many lines have code."""
    with path.open("rb") as file:
        return len(
            {
                line
                for token in tokenize.tokenize(file.readline)
                if token.type not in _NO_CODE
                for line in range(token.start[0], token.end[0] + 1)
            }
        )


def summary(what: str, sizes: Iterable[tuple[int, str]], limit: int) -> str:
    """Return the median, the 90th percentile and the longest of `sizes`."""
    ordered = sorted(sizes)
    lengths = [length for length, _ in ordered]
    longest, where = ordered[-1]
    return (
        f"{len(ordered)} {what}: median {statistics.median_low(lengths)}, "
        f"90 % at most {lengths[len(lengths) * 9 // 10]}, longest {longest} ({where}), "
        f"{sum(length > limit for length in lengths)} over {limit} lines"
    )


def main() -> None:
    """Print the figures of all modules below the folders."""
    paths = sorted(path for folder in sys.argv[1:] for path in Path(folder).rglob("*.py"))
    modules = [(len(path.read_text().splitlines()), str(path)) for path in paths]
    print(sum(length for length, _ in modules), "lines,", sum(map(lines_of_code, paths)), "of code")
    print(summary("modules", modules, 300))
    print(summary("functions", (each for path in paths for each in functions(path)), 60))


if __name__ == "__main__":
    main()
