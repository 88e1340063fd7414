"""Whether a mutant was noticed."""

from __future__ import annotations

from pathlib import Path

from tests.mutants.forking import Report
from tests.mutants.mutant import Mutant

# Code that cannot even be loaded shows nothing of what a test looks at.
_NOT_LOADED = frozenset({"ImportError", "ModuleNotFoundError", "NameError", "SyntaxError"})


def stale(mutant: Mutant, tree: Path) -> str:
    """Return what is wrong with a mutant's text, empty when it stands once in its file."""
    count = (tree / mutant.file).read_text("utf-8").count(mutant.old)
    return "" if count == 1 else f"{mutant.file}: {mutant.what}: its text stands {count} times"


def not_green(report: Report) -> str:
    """Return what is wrong with a run that nothing was broken for, empty when all passed."""
    if report.hung:
        return f"HANGS\n{report.output}"
    if report.observed is None:
        return f"BROKEN\n{report.output}"
    if report.observed.strangers:
        return f"BROKEN\nmodules came from elsewhere: {' '.join(report.observed.strangers)}"
    return report.output if report.observed.code else ""


def not_noticed(report: Report) -> str:
    """Return why a mutant counts as not noticed, empty when its test failed.

    That is a test that ran: neither a fixture that fails, nor a module that cannot be imported or
    a test that hangs shows that the test looks at what is broken.
    """
    if report.observed is None or report.observed.strangers:
        return not_green(report)
    failures = report.observed.failures
    if any(each.phase == "call" and each.error not in _NOT_LOADED for each in failures):
        return ""
    return f"BROKEN\n{report.output}" if report.observed.code else "SURVIVED"
