"""The kinds of findings in a manifest: images, suspects, notes and problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from imager.oci.reference import Reference
from imager.support.errors import InputError


@dataclass(frozen=True, slots=True)
class ImageField:
    """A field at `where` whose value must be an image reference. `line` is 0 if unknown."""

    where: str
    value: object
    line: int = 0


@dataclass(frozen=True, slots=True)
class Mention:
    """A complete reference that is the whole of an argument, a variable or another text."""

    where: str
    image: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Suspect:
    """A text that may be an image, or a field that may name one; `why` it is not listed."""

    where: str
    image: str
    why: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """Something at `where` that may need images that it does not name."""

    where: str
    text: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Remark:
    """A fact about `where` that does not make the list incomplete."""

    where: str
    text: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """An error at `where`; `denied` is the OSError if a permission is missing."""

    where: str
    text: str
    line: int = 0
    denied: OSError | None = None


@dataclass(frozen=True, slots=True)
class Nested:
    """A value at `where` that is itself a document, or the text of one or more.

    With a `doubt`, its images are only suspected, for that reason.
    """

    where: str
    content: object
    line: int = 0
    doubt: str = ""


Finding = ImageField | Mention | Suspect | Note | Remark | Problem | Nested
AnyFinding = TypeVar("AnyFinding", bound=Finding)


def within(place: str, finding: AnyFinding) -> AnyFinding:
    """Return `finding` with `place` (a file, a document, a field) before its own place."""
    return replace(finding, where=f"{place}: {finding.where}" if finding.where else place)


def full_reference(value: object) -> str:
    """Return the full reference of the image in a field's `value`.

    Raises InputError, or what `Reference.parse` raises, if `value` is not an image reference.
    """
    if value is None or value == "":
        raise InputError("the image is empty")
    if not isinstance(value, str):
        raise InputError(f"the image is {_kind(value)}, not text: is a quote missing?")
    return str(Reference.parse(value))


def _kind(value: object) -> str:
    """Return the usual name for the type of a YAML value."""
    names = {bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "a mapping" if isinstance(value, Mapping) else "a value")
