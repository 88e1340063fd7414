"""What is found in a manifest: images, what may be one or need one, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from imager.oci.reference import Reference
from imager.support.errors import InputError


@dataclass(frozen=True, slots=True)
class ImageField:
    """A field at `where` whose value must be an image reference. Lines are 0 if unknown."""

    where: str
    value: object
    line: int = 0


@dataclass(frozen=True, slots=True)
class Mention:
    """A complete reference that is all of an argument, a variable or another text."""

    where: str
    image: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Suspect:
    """A text that looks like an image, or a field that may name one; `why` it is not listed."""

    where: str
    image: str
    why: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """What at `where` may need images that cannot be seen there."""

    where: str
    text: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Remark:
    """A fact about `where` that takes no image from the list."""

    where: str
    text: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at `where`; `denied` is the error where a permission is missing."""

    where: str
    text: str
    line: int = 0
    denied: OSError | None = None


@dataclass(frozen=True, slots=True)
class Nested:
    """A value at `where` that is a document of its own, or the text of some.

    Its images are only suspected if `doubt` says why.
    """

    where: str
    content: object
    line: int = 0
    doubt: str = ""


Finding = ImageField | Mention | Suspect | Note | Remark | Problem | Nested
AnyFinding = TypeVar("AnyFinding", bound=Finding)


def within(place: str, finding: AnyFinding) -> AnyFinding:
    """Return `finding` with its place told from `place`: a file, a document, a field."""
    return replace(finding, where=f"{place}: {finding.where}" if finding.where else place)


def full_reference(value: object) -> str:
    """Return the full reference of the image that a field's `value` names.

    Raises InputError, or what `Reference.parse` raises, when it names none.
    """
    if value is None or value == "":
        raise InputError("the image is empty")
    if not isinstance(value, str):
        raise InputError(f"the image is {_kind(value)}, not text: is a quote missing?")
    return str(Reference.parse(value))


def _kind(value: object) -> str:
    """Return what a person calls the type of a value in YAML."""
    names = {bool: "a boolean", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "a mapping" if isinstance(value, Mapping) else "a value")
