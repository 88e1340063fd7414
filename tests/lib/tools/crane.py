"""crane, the registry tool of go-containerregistry that `make crane` builds."""

from __future__ import annotations

from pathlib import Path

from tests.lib.tools.cli import go_tool, tool


def crane_program() -> Path:
    """Return where it is."""
    return go_tool("crane")


def crane(*args: str | Path) -> str:
    """Run crane, which must succeed; return all that it says."""
    return tool(crane_program(), *args)
