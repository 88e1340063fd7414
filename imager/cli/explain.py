"""`imager explain`: print the meaning and the remedy of an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from imager.cli.declare import argument
from imager.cli.options import Results
from imager.cli.tables import json_object, json_value

if TYPE_CHECKING:
    from imager.app.explain import ErrorKind


def explain(
    error: Annotated[str | None, argument("ID", "Id of an error, such as damaged-cache.")] = None,
    *,
    display: Results,
) -> None:
    """Explain an error by its id, or list all ids.

    The last line of an error message shows the id, and so does --json.
    """
    from imager.app.explain import error_kinds, find_kind

    if error is None:
        display.answer(_kinds, json_value, error_kinds())
    else:
        display.answer(_kind, json_object, find_kind(error))


def _kinds(kinds: Sequence[ErrorKind]) -> Iterator[str]:
    width = max(len(kind.id) for kind in kinds)
    return (f"{kind.id:{width}}  {kind.cause}" for kind in kinds)


def _kind(kind: ErrorKind) -> Iterator[str]:
    yield f"{kind.id} (exit code {kind.exit_code})\n"
    yield f"Cause:  {kind.cause}"
    yield f"Remedy: {kind.remedy}"
