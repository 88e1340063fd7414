"""crane, the registry tool of go-containerregistry that `make crane` builds."""

from __future__ import annotations

from pathlib import Path

from tests.lib.tools.cli import built_tools, tool


def crane_program() -> Path:
    """Return where it is."""
    found = sorted(built_tools().glob("crane-*/crane"))
    assert found, f"there is no crane in {built_tools()}: run `make crane`"
    return found[-1]


def crane(*args: str | Path) -> str:
    """Run crane, which must succeed; return all that it says."""
    return tool(crane_program(), *args)
