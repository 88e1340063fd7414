"""Lists of images: one a line; comments, blank lines and duplicates are welcome."""

from __future__ import annotations

import re
from collections.abc import Iterator

from imager.errors import ImagerError, InputError
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
    """Return the references in a list; raises InputError naming every line that is none."""
    references: list[Reference] = []
    problems: list[str] = []
    for line in read_lines(source):
        try:
            references.append(Reference.parse(line))
        except ImagerError as error:
            problems.append(error.message)
    if problems:
        raise InputError(f"{input_name(source)}: {'; '.join(problems[:_SHOWN])}")
    return tuple(references)


def _entries(text: str) -> Iterator[str]:
    for line in text.splitlines():
        entry = _COMMENT.split(line, maxsplit=1)[0].strip()
        if entry:
            yield entry
