"""Lists of images: one a line; comments, blank lines and duplicates are welcome."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imager.errors import ImagerError, InputError
from imager.oci.local import parse_entry
from imager.oci.reference import Reference
from imager.textinput import input_name, read_input

_LARGEST_LIST = 8 << 20
_SHOWN = 10
_COMMENT = re.compile(r"(?:^|\s)#")


def read_lines(source: str) -> tuple[str, ...]:
    """Return the entries of the list in the file `source`, or on standard input for `-`.

    What follows a `#` at the start of a line or after white space is a comment. Each entry is
    given once, in the order of its first appearance. Raises InputError when it cannot be read.
    """
    entries = dict.fromkeys(
        _entries(read_input(source, what="list of images", limit=_LARGEST_LIST))
    )
    if not entries:
        raise InputError(
            f"there are no images in {input_name(source)}", hint="write one image reference a line"
        )
    return tuple(entries)


def read_image_list(source: str) -> tuple[Reference, ...]:
    """Return the names of the images in a list, wherever they are to come from.

    Raises InputError that names every line that is none, or whose image only its source names.
    """
    references: list[Reference] = []
    problems: list[str] = []
    for line in read_lines(source):
        try:
            references.append(_name(line))
        except ImagerError as error:
            problems.append(error.message)
    if problems:
        raise InputError(f"{input_name(source)}: {'; '.join(problems[:_SHOWN])}")
    return tuple(references)


def _name(line: str) -> Reference:
    entry = parse_entry(line)
    if entry.name is None:
        raise InputError(f"{line!r} does not name its image", hint="write NAME=SOURCE")
    return entry.name


def _entries(text: str) -> Iterator[str]:
    for line in text.splitlines():
        entry = _COMMENT.split(line, maxsplit=1)[0].strip()
        if entry:
            yield entry
