"""Starts the longest boots first, and prints what booted from what at the end of a run."""

from __future__ import annotations

import pytest

from tests.boot.matrix import HEADER


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the nodes' stories first: one that starts last is waited for by all other workers."""
    items.sort(key=lambda item: item.path.name != "test_node.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the combinations that were booted, each with its console line."""
    reports = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    rows = sorted(
        tuple(value)
        for report in reports
        if report.when == "call"
        for name, value in report.user_properties
        if name == "boot"
    )
    if not rows:
        return
    lines = [(*HEADER, "console"), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    terminalreporter.section("what booted from what")
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        terminalreporter.write_line("  ".join(cells).rstrip())
