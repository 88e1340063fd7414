"""Kinds of errors: text for a person, JSON for a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from imager.app.explain import ErrorKind


def kinds_text(kinds: Sequence[ErrorKind]) -> str:
    """Return a line for each kind."""
    width = max(len(kind.id) for kind in kinds)
    return "\n".join(f"{kind.id:{width}}  {kind.cause}" for kind in kinds)


def kinds_json(kinds: Sequence[ErrorKind]) -> list[dict[str, Any]]:
    """Return the kinds as values of JSON."""
    return [kind_json(kind) for kind in kinds]


def kind_text(kind: ErrorKind) -> str:
    """Return what a kind of error means, and what to do about it."""
    return f"{kind.id} (exit code {kind.exit_code})\n\nCause:  {kind.cause}\nRemedy: {kind.remedy}"


def kind_json(kind: ErrorKind) -> dict[str, Any]:
    """Return a kind as a value of JSON."""
    fields = asdict(kind)
    return {"exitCode": fields.pop("exit_code"), **fields}
