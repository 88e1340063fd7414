"""`imager images`."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True)


@app.command("default")
def default() -> None:
    """List."""


@app.command("cache-create")
def create() -> None:
    """Fetch."""
