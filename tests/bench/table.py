"""The table of results, in Markdown, with a verdict where there is a limit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from tests.bench.measure import Result, by_name

_PEAK_LIMIT = 150 << 20
_WRITTEN_LIMIT = 1.05
_HELP = "imager --help"
_HELP_SECONDS = 0.3

_BEGIN, _END = "<!-- table: made by tests.bench -->\n", "<!-- end of table -->\n"
_HEAD = (
    "| case | median, s | of | against, s | ratio | limit | peak, MiB | written / output | |",
    "|---|--:|--:|--:|--:|--:|--:|--:|---|",
)


def render(results: Sequence[Result], *, folder: Path, load: float) -> str:
    """Return the table, headed by when and where it was measured; `load` is that at the start."""
    named = by_name(results)
    rows = [_row(result, named) for result in results]
    return "\n".join([f"{_machine(folder)}; load at the start {load:.1f}.", "", *_HEAD, *rows, ""])


def save(table: str, page: Path) -> None:
    """Replace the table in a page of documentation."""
    before, _, rest = page.read_text("utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    page.write_text(f"{before}{_BEGIN}{table}{_END}{after}", "utf-8")


def _machine(folder: Path) -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    findmnt: list[str | Path] = [
        "findmnt",
        "--noheadings",
        "--output",
        "FSTYPE",
        "--target",
        folder,
    ]
    system = subprocess.run(findmnt, capture_output=True, text=True, check=True).stdout.strip()
    return f"{date.today()}: {os.cpu_count()} cores, {memory:.0f} GiB of memory, {system}"


def _row(result: Result, named: dict[str, Result]) -> str:
    case = result.case
    baseline = max((named[name].seconds for name in case.against), default=None)
    ratio = result.seconds / baseline if baseline else None
    written = result.written_ratio
    verdicts = []
    if ratio and case.limit:
        verdicts.append(ratio <= case.limit)
    if case.build:
        verdicts += [result.peak <= _PEAK_LIMIT, (written or 0) <= _WRITTEN_LIMIT]
    if case.name == _HELP:
        verdicts.append(result.seconds < _HELP_SECONDS)
    cells = [
        case.name,
        f"{result.seconds:.2f}",
        f"{min(run.seconds for run in result.runs):.2f} to "
        f"{max(run.seconds for run in result.runs):.2f}",
        _number(baseline),
        _number(ratio),
        f"{_HELP_SECONDS} s" if case.name == _HELP else _number(case.limit),
        f"{result.peak / (1 << 20):.0f}",
        _number(written),
        ("holds" if all(verdicts) else "**fails**") if verdicts else "",
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
