"""Text inputs from the command line: a file, or `-` for standard input."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from imager.support.errors import InputError
from imager.support.units import format_size

STDIN = "-"
_LONGEST_CHARACTER = 4  # bytes in UTF-8
_COMMENT = re.compile(r"(?:^|\s)#")


def input_name(source: str) -> str:
    """Return the name of `source` for messages."""
    return "standard input" if source == STDIN else source


def read_input(source: str, *, what: str, limit: int, hint: str = "", exact: bool = False) -> str:
    """Return the UTF-8 text of `source`, with its line ends; `what` ("profile") names it.

    A byte order mark is dropped unless `exact`. Raises InputError with `hint` if it cannot be read
    or has more than `limit` characters.
    """
    decoder = codecs.getincrementaldecoder("utf-8" if exact else "utf-8-sig")()
    longest = _LONGEST_CHARACTER * limit
    try:
        data = _read(source, longest + 1)
        # A text that is too long may be cut within a character.
        text = decoder.decode(data, final=len(data) <= longest)
        if "\0" in text:
            raise ValueError("it is not text: it contains NUL bytes")
    except (OSError, ValueError) as error:
        place = f"on {input_name(source)}" if source == STDIN else source
        raise InputError(f"cannot read the {what} {place}: {_reason(error)}", hint=hint) from error
    if len(text) > limit:
        raise InputError(
            f"{input_name(source)} is too large for a {what}: more than {format_size(limit)}",
            hint=hint,
        )
    return text


def list_lines(text: str) -> Sequence[tuple[int, str]]:
    """Return the entries in the text of a list, each with its line number from 1.

    A `#` at the start of a line or after white space begins a comment.
    """
    lines = (_COMMENT.split(line, maxsplit=1)[0].strip() for line in text.splitlines())
    return [(number, line) for number, line in enumerate(lines, 1) if line]


def _read(source: str, length: int) -> bytes:
    if source == STDIN:
        return sys.stdin.buffer.read(length)
    with Path(source).open("rb") as file:
        return file.read(length)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: invalid byte at offset {error.start}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)  # a NUL byte in the name or in the text
