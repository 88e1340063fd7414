"""`imager explain`: print the meaning and the remedy of an error."""

from __future__ import annotations

from typing import Annotated

import typer

from imager.cli.options import Results


def explain(
    error: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of an error, such as damaged-cache.")
    ] = None,
    *,
    display: Results,
) -> None:
    """Explain an error by its id, or list all ids.

    The last line of an error message shows the id, and so does --json.
    """
    from imager.app.explain import error_kinds, find_kind
    from imager.cli.explain_text import kind_json, kind_text, kinds_json, kinds_text

    if error is None:
        display.answer(kinds_text, kinds_json, error_kinds())
    else:
        display.answer(kind_text, kind_json, find_kind(error))
