"""oras, the tool for artifacts in registries that `make oras` builds."""

from __future__ import annotations

from pathlib import Path

from tests.lib.tools.cli import go_tool, tool


def oras(command: str, *args: str | Path, cwd: Path | None = None) -> str:
    """Run a command of oras without TLS, which must succeed; return all that it says."""
    words = command.split()
    return tool(go_tool("oras"), *words, "--plain-http", *args, cwd=cwd)
