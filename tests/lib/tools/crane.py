"""crane, the registry tool of go-containerregistry that `make crane` builds."""

from __future__ import annotations

from pathlib import Path

from tests.lib.tools.cli import REPOSITORY, tool


def crane_program() -> Path:
    """Return where it is."""
    found = sorted(REPOSITORY.glob(".cache/tools/crane-*/crane"))
    assert found, "there is no crane in .cache/tools: run `make crane`"
    return found[-1]


def crane(*args: str | Path) -> str:
    """Run crane, which must succeed; return all that it says."""
    return tool(crane_program(), *args)
