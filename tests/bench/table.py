"""The table of results, in Markdown, with a verdict where there is a limit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from tests.bench.measure import Result, by_name

_PEAK_LIMIT = 150 << 20

_BEGIN, _END = "<!-- {}: made by tests.bench -->\n", "<!-- end of {} -->\n"
_HEAD = (
    "| case | median, s | of | against, s | ratio | limit | peak, MiB | written / output | |",
    "|---|--:|--:|--:|--:|--:|--:|--:|---|",
)


def render(results: Sequence[Result], *, folder: Path, load: float) -> str:
    """Return the table, headed by when and where it was measured; `load` is that at the start."""
    named = by_name(results)
    rows = [_row(result, named) for result in results]
    return "\n".join([headline(folder, load), "", *_HEAD, *rows, ""])


def headline(folder: Path, load: float) -> str:
    """Return when and where a table was measured; `load` is that at the start."""
    return f"{_machine(folder)}; load at the start {load:.1f}."


def save(table: str, page: Path, *, name: str) -> None:
    """Replace the table called `name` in a page of documentation."""
    begin, end = _BEGIN.format(name), _END.format(name)
    before, _, rest = page.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}{table}{end}{after}", "utf-8")


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
    if baseline is not None:
        baseline += sum(named[name].seconds for name in case.plus)
    ratio = result.seconds / baseline if baseline else None
    written = result.written_ratio
    verdicts = []
    if ratio and case.limit:
        verdicts.append(ratio <= case.limit)
    if case.build:
        verdicts.append(result.peak <= _PEAK_LIMIT)
    if case.written_limit:
        verdicts.append((written or 0) <= case.written_limit)
    if case.seconds_limit:
        verdicts.append(result.seconds <= case.seconds_limit)
    cells = [
        case.name,
        f"{result.seconds:.2f}",
        f"{min(run.seconds for run in result.runs):.2f} to "
        f"{max(run.seconds for run in result.runs):.2f}",
        _number(baseline),
        _number(ratio),
        f"{case.seconds_limit} s" if case.seconds_limit else _number(case.limit),
        f"{result.peak / (1 << 20):.0f}",
        _number(written),
        ("holds" if all(verdicts) else "**fails**") if verdicts else "",
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
