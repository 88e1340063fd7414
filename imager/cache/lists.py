"""Parse lists of images from options: files with one image per line, or inline references.

    LIST = FILE | - | ENTRY[,ENTRY...]

`-` is standard input. The name of an existing file selects that file. Anything else is a
comma-separated list of entries: registry references with a tag or digest, or local images such as
NAME=oci:DIR. `images.txt` is thus never parsed as an image name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from imager.cache.errors import InvalidImageListError
from imager.oci.local import LocalKind, parse_entry
from imager.oci.reference import Reference
from imager.support.errors import ImagerError, InputError
from imager.support.inputs import STDIN, input_name, list_lines, read_input

_LARGEST_LIST = 8 << 20
_SHOWN = 10
_HINT = (
    "give a text file with one image reference per line; for an archive of images, write"
    " docker-archive:FILE or oci-archive:FILE"
)
_SOURCES = ("docker://", *(f"{kind.value}:" for kind in LocalKind))
_Parsed = TypeVar("_Parsed")


def read_entries(lists: Sequence[str]) -> Mapping[str, str]:
    """Return the entries of `lists` (registry references and local images), each with its place.

    A place is the file and line of an entry, or empty for the command line. A `#` at the start of a
    line or after white space begins a comment. Duplicates are dropped; the order is that of first
    appearance. Raises InputError if a list cannot be read or is empty.
    """
    entries: dict[str, str] = {}
    for source in lists:
        for text, place in _entries(source):
            entries.setdefault(text, place)
    return entries


def read_image_list(lists: Sequence[str]) -> tuple[Reference, ...]:
    """Return the names of the images in `lists`, without duplicates, regardless of their sources.

    Raises InputError as `read_entries`. Also raises it, with their places, for entries that are not
    images, and for entries whose image name is stored only in the source.
    """
    return tuple(dict.fromkeys(parse_each(read_entries(lists), _name)))


def parse_each(entries: Mapping[str, str], parse: Callable[[str], _Parsed]) -> list[_Parsed]:
    """Return the result of `parse` for each of `entries`, which has their places.

    Raises one error for all invalid entries, with the class and hint of the first.
    """
    parsed: list[_Parsed] = []
    failures: list[ImagerError] = []
    for text, place in entries.items():
        try:
            with placing(text, place):
                parsed.append(parse(text))
        except ImagerError as error:
            failures.append(error)
    if len(failures) > 1:
        message = _listed([failure.message for failure in failures])
        raise type(failures[0])(message, hint=failures[0].hint)
    if failures:
        raise failures[0]
    return parsed


def _name(text: str) -> Reference:
    entry = parse_entry(text)
    if entry.name is None:
        raise InvalidImageListError(f"{text!r} does not name its image", hint="write NAME=SOURCE")
    return entry.name


@contextmanager
def placing(entry: str, place: str) -> Iterator[None]:
    """Add the entry and its place in a list to the message of an error raised in the block."""
    try:
        yield
    except ImagerError as error:
        message = _of_entry(entry, error.message)
        message = f"{place}: {message}" if place else message
        raise type(error)(message, hint=error.hint) from error.__cause__


def _of_entry(entry: str, message: str) -> str:
    """Prefix `message` with its entry, unless the message already contains it."""
    named = message.startswith((f"{entry} ", f"{entry}: ")) or repr(entry) in message
    return message if named else f"{entry}: {message}"


def _listed(problems: Sequence[str]) -> str:
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    lines = "".join(f"\n  {line}" for line in [*problems[:_SHOWN], *more])
    return f"{len(problems)} entries of the image list are invalid:{lines}"


def _entries(source: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of one option value with their places; raises InputError without any."""
    parts = map(str.strip, source.split(","))
    names = [source] if _is_list(source) else list(filter(None, parts))
    if not names:
        raise _empty(repr(source))
    for name in names:
        if _is_list(name):
            yield from _lines(name)
        else:
            _check_entry(name)
            yield name, ""


def _empty(name: str) -> InputError:
    return InvalidImageListError(
        f"there are no images in {name}", hint="write one image reference per line"
    )


def _is_list(source: str) -> bool:
    if source == STDIN:
        return True
    # Path raises if the text is too long for a file name; os.path does not.
    exists, is_folder = os.path.exists(source), os.path.isdir(source)  # noqa: PTH110, PTH112
    return exists and not (is_folder and _is_pinned(source))


def _is_pinned(text: str) -> bool:
    """Whether `text` looks like a reference with a tag or digest, and not like a path."""
    return "@" in text or ":" in text.rpartition("/")[2]


def _check_entry(text: str) -> None:
    """Raise InputError for an entry of the command line that may be meant as a file."""
    if _is_pinned(text) or _names_source(text):
        return
    pinned = f"{text}:latest"
    raise InvalidImageListError(
        f"{text!r} is neither an image list file nor a reference with a tag or digest",
        hint="check the path"
        + (f", or add the tag: {Reference.parse(pinned)}" if _is_reference(pinned) else ""),
    )


def _names_source(text: str) -> bool:
    """Whether `text` contains the source of its image."""
    return "=" in text or text.startswith(_SOURCES)


def _is_reference(text: str) -> bool:
    try:
        return bool(Reference.parse(text))
    except ImagerError:
        return False


def _lines(source: str) -> list[tuple[str, str]]:
    text = read_input(source, what="list of images", limit=_LARGEST_LIST, hint=_HINT)
    name = input_name(source)
    entries = [(line, f"{name}:{number}") for number, line in list_lines(text)]
    if not entries:
        raise _empty(name)
    return entries
