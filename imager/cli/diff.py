"""`imager diff`: compare two images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imager.cli.declare import argument, flag
from imager.cli.files import SOURCE_HELP
from imager.cli.options import DIFFERENT, Registries, Results

if TYPE_CHECKING:
    from imager.image.inspect.diff import ImageDiff
    from imager.image.inspect.diff_files import Change

_CMDLINE = "cmdline"


def diff(
    old: Annotated[str, argument("OLD", SOURCE_HELP)],
    new: Annotated[str, argument("NEW", "The image to compare it with.")],
    structure: Annotated[
        bool, flag("--structure", "Compare names and sizes of files, but no bytes.")
    ] = False,
    *,
    registries: Registries,
    display: Results,
) -> None:
    """Compare two images by meaning, file by file, and then byte by byte.

    The formats around an image do not count: a qcow2 may be equal to a raw disk. The exit code is 1
    if they differ.
    """
    from imager.app.diff import compare_images

    here = all(Path(source).exists() for source in (old, new))
    settings = None if here else registries.settings()
    found = compare_images(old, new, settings, display.reporter(), structure=structure)
    if display.json_output or not found.same:
        display.summary(_text, _json, found)
    raise typer.Exit(0 if found.same else DIFFERENT)


def _text(found: ImageDiff) -> Iterator[str]:
    """Format the differences, one per line: `-` only in the first, `+` only in the second image."""
    yield from map(_line, found.changes)
    for each in found.unread:
        yield f"files not compared: {each}"
    if found.first_byte is not None:
        where = f", in {found.region}" if found.region else ""
        yield f"bytes differ, the first at {found.first_byte}{where}"


def _line(change: Change) -> str:
    name = " ".join(filter(None, (change.what, change.name)))
    if change.field:
        if change.old is None and change.new is None:
            return f"~ {name}  {change.field}"
        if change.field == _CMDLINE and change.old and change.new:
            return f"~ {name}  {_CMDLINE}: {_words(change.old.split(), change.new.split())}"
        return f"~ {name}  {change.field}: {_side(change.old)} -> {_side(change.new)}"
    if change.old is None:
        return f"+ {name}  {change.new}"
    if change.new is None:
        return f"- {name}  {change.old}"
    return f"~ {name}  {change.old} -> {change.new}"


def _words(old: Sequence[str], new: Sequence[str]) -> str:
    """Return the arguments that only one command line has, or say that their order differs."""
    gone = [f"-{word}" for word in old if word not in new]
    added = [f"+{word}" for word in new if word not in old]
    return " ".join([*gone, *added]) or "the same arguments in another order or number"


def _side(value: str | None) -> str:
    return "none" if value is None else value or "empty"


def _json(found: ImageDiff) -> Any:
    from imager.cli.tables import json_object

    return {"same": found.same, **json_object(found)}
