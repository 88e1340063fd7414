"""Text for a terminal: sanitized, and in color if enabled."""

from __future__ import annotations

import enum
import json
import os
import sys
from collections.abc import Mapping
from typing import IO

NO_COLOR = "--no-color"  # the option


def printable(text: str) -> str:
    """Return `text` without terminal control characters; it may quote archives and registries."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


class Tone(enum.Enum):
    """The severity of a line: its label and its color (ECMA-48, 8.3.117)."""

    ERROR = ("error", "1;31")
    WARNING = ("warning", "1;33")
    HINT = ("hint", "1;36")
    MORE = ("more", "2")


def uses_color(stream: IO[str]) -> bool:
    """Return whether to write to `stream` in color: see no-color.org and force-color.org."""
    if NO_COLOR in sys.argv or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and not is_dumb()


def is_dumb() -> bool:
    """Return whether the terminal supports only plain text; an unknown type may support more."""
    return os.environ.get("TERM", "dumb") in ("dumb", "unknown")


def labelled(tone: Tone, text: str, stream: IO[str]) -> str:
    """Return `text` prefixed with its label, as printed to `stream`."""
    label, color = tone.value
    shown = f"\033[{color}m{label}:\033[0m" if uses_color(stream) else f"{label}:"
    return f"{shown} {printable(text)}"


def with_fields(text: str, fields: Mapping[str, str]) -> str:
    """Return a step and its fields as one line."""
    return f"{text} {json.dumps(fields)}" if fields else text


def one_line(text: str, longest: int = 600) -> str:
    """Return `text` as one line of bounded length, since it may quote untrusted input."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}..."
