"""Format kinds of errors as text and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from imager.app.explain import ErrorKind


def kinds_text(kinds: Sequence[ErrorKind]) -> str:
    """Format the kinds, one per line."""
    width = max(len(kind.id) for kind in kinds)
    return "\n".join(f"{kind.id:{width}}  {kind.cause}" for kind in kinds)


def kinds_json(kinds: Sequence[ErrorKind]) -> list[dict[str, Any]]:
    """Return the kinds as JSON objects."""
    return [kind_json(kind) for kind in kinds]


def kind_text(kind: ErrorKind) -> str:
    """Format the cause and the remedy of a kind of error."""
    return f"{kind.id} (exit code {kind.exit_code})\n\nCause:  {kind.cause}\nRemedy: {kind.remedy}"


def kind_json(kind: ErrorKind) -> dict[str, Any]:
    """Return a kind as a JSON object."""
    fields = asdict(kind)
    return {"exitCode": fields.pop("exit_code"), **fields}
