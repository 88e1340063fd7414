"""Lists of images, as options give them: files with one image a line, and references themselves.

    LIST = FILE | - | ENTRY[,ENTRY...]

`-` is standard input. What is the name of a file is that file. Anything else is entries with
commas between them, each a registry reference with a tag or a digest, or a local image such as
NAME=oci:DIR: `images.txt` is thus never taken for an image of that name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imager.cache.errors import InvalidImageListError
from imager.oci.local import LocalKind, parse_entry
from imager.oci.reference import Reference
from imager.support.errors import ImagerError, InputError
from imager.support.inputs import STDIN, input_name, read_input

_LARGEST_LIST = 8 << 20
_SHOWN = 10
_HINT = (
    "give a text file with one image reference a line; for an archive of images, write"
    " docker-archive:FILE or oci-archive:FILE"
)
_SOURCES = ("docker://", *(f"{kind.value}:" for kind in LocalKind))
_COMMENT = re.compile(r"(?:^|\s)#")


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry, and the file and line that it is at, if it is in a file."""

    text: str
    place: str = ""


def list_lines(text: str) -> Sequence[tuple[int, str]]:
    """Return the entries of the text of a list, each with its line, from 1.

    What follows a `#` at the start of a line or after white space is a comment.
    """
    lines = (_COMMENT.split(line, maxsplit=1)[0].strip() for line in text.splitlines())
    return [(number, line) for number, line in enumerate(lines, 1) if line]


def read_entries(lists: Sequence[str]) -> Mapping[str, str]:
    """Return the entries of `lists`, registry references and local images, by their places.

    A place is the file and line of an entry, empty on the command line. What follows a `#` at the
    start of a line or after white space is a comment. Each entry is given once, in the order of its
    first appearance. Raises InputError when a list cannot be read, or has no entry.
    """
    entries: dict[str, str] = {}
    for entry in (entry for source in lists for entry in _entries(source)):
        entries.setdefault(entry.text, entry.place)
    return entries


def read_image_list(lists: Sequence[str]) -> tuple[Reference, ...]:
    """Return the names of the images in `lists`, wherever they are to come from, each once.

    Raises InputError as `read_entries`, and for entries that are no images, or whose image only its
    source names, with their places.
    """
    references: dict[Reference, None] = {}
    problems: list[str] = []
    for text, place in read_entries(lists).items():
        try:
            references[_name(text)] = None
        except ImagerError as error:
            problems.append(placed(error.message, place))
    if problems:
        raise InvalidImageListError(_listed(problems))
    return tuple(references)


def _name(text: str) -> Reference:
    entry = parse_entry(text)
    if entry.name is None:
        raise InvalidImageListError(f"{text!r} does not name its image", hint="write NAME=SOURCE")
    return entry.name


def placed(message: str, place: str) -> str:
    """Return `message` behind the place that it is about, if there is one."""
    return f"{place}: {message}" if place else message


def _listed(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    lines = "".join(f"\n  {line}" for line in [*problems[:_SHOWN], *more])
    return f"{len(problems)} entries of the list of images are wrong:{lines}"


def _entries(source: str) -> list[_Entry]:
    """Return the entries of what one option says; raises InputError when there are none."""
    if _is_list(source):
        return _lines(source)
    parts = list(filter(None, map(str.strip, source.split(","))))
    if not parts:
        raise _empty(repr(source))
    return [
        entry for part in parts for entry in (_lines(part) if _is_list(part) else [_written(part)])
    ]


def _empty(name: str) -> InputError:
    return InvalidImageListError(
        f"there are no images in {name}", hint="write one image reference a line"
    )


def _is_list(source: str) -> bool:
    if source == STDIN:
        return True
    # os.path, since Path raises for a text that is too long for a name
    exists, is_folder = os.path.exists(source), os.path.isdir(source)  # noqa: PTH110, PTH112
    return exists and not (is_folder and _is_pinned(source))


def _is_pinned(text: str) -> bool:
    """Whether `text` looks like a reference with a tag or digest, and not like a path."""
    return "@" in text or ":" in text.rpartition("/")[2]


def _written(text: str) -> _Entry:
    """Return the entry `text` of a command line; raises InputError for what may be a file."""
    if _is_pinned(text) or _names_source(text):
        return _Entry(text)
    pinned = f"{text}:latest"
    raise InvalidImageListError(
        f"{text!r} is neither a file with a list of images nor a reference with a tag",
        hint="check the path"
        + (f", or write the tag: {Reference.parse(pinned)}" if _is_reference(pinned) else ""),
    )


def _names_source(text: str) -> bool:
    """Whether `text` says where its image comes from."""
    return "=" in text or text.startswith(_SOURCES)


def _is_reference(text: str) -> bool:
    try:
        return bool(Reference.parse(text))
    except ImagerError:
        return False


def _lines(source: str) -> list[_Entry]:
    text = read_input(source, what="list of images", limit=_LARGEST_LIST, hint=_HINT)
    name = input_name(source)
    entries = [_Entry(line, f"{name}:{number}") for number, line in list_lines(text)]
    if not entries:
        raise _empty(name)
    return entries
