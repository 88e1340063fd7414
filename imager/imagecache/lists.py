"""Lists of images: one a line; comments, blank lines and duplicates are welcome."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from imager.errors import ImagerError, InputError
from imager.oci.reference import Reference

_LARGEST_LIST = 8 << 20
_SHOWN = 10
_COMMENT = re.compile(r"(?:^|\s)#")


def read_lines(source: str) -> tuple[str, ...]:
    """Return the entries of the list in the file `source`, or on standard input for `-`.

    What follows a `#` at the start of a line or after white space is a comment. Each entry is
    given once, in the order of its first appearance. Raises InputError when it cannot be read.
    """
    entries = dict.fromkeys(_entries(_read(source)))
    if not entries:
        raise InputError(
            f"there are no images in {_shown(source)}", hint="write one image reference a line"
        )
    return tuple(entries)


def read_image_list(source: str) -> tuple[Reference, ...]:
    """Return the references in a list; raises InputError naming every line that is none."""
    references: list[Reference] = []
    problems: list[str] = []
    for line in read_lines(source):
        try:
            references.append(Reference.parse(line))
        except ImagerError as error:
            problems.append(error.message)
    if problems:
        raise InputError(f"{_shown(source)}: {'; '.join(problems[:_SHOWN])}")
    return tuple(references)


def _read(source: str) -> str:
    try:
        if source == "-":
            text = sys.stdin.read(_LARGEST_LIST + 1)
        else:
            with Path(source).open(encoding="utf-8-sig") as file:
                text = file.read(_LARGEST_LIST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list of images {_shown(source)}: {error}") from error
    if len(text) > _LARGEST_LIST:
        raise InputError(f"{_shown(source)} is too large for a list of images")
    return text


def _entries(text: str) -> Iterator[str]:
    for line in text.splitlines():
        entry = _COMMENT.split(line, maxsplit=1)[0].strip()
        if entry:
            yield entry


def _shown(source: str) -> str:
    return "standard input" if source == "-" else source
