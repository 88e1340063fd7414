"""What is found in a manifest: images, what may be one or need one, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from imager.oci.reference import Reference
from imager.support.errors import InputError

_LONGEST_NAME = 253


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


def shown(text: str) -> str:
    """Return a name or key as it is shown: cut to the 253 characters that Kubernetes allows.

    It is repeated for each finding below it, and one of megabytes would be a bomb.
    """
    return text[:_LONGEST_NAME]


def within(place: str, finding: AnyFinding) -> AnyFinding:
    """Return `finding` with its place told from `place`: a file, a document, a field."""
    return replace(finding, where=f"{place}: {finding.where}" if finding.where else place)


def value_at(value: object, path: str) -> object:
    """Return what stands at the dotted `path` of mappings; None where there is nothing."""
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def text_at(value: object, path: str) -> str:
    """Return the text at the dotted `path`; empty where there is none.

    What is not text is not shown either: numbers can be too long for that, and lists too deep.
    """
    found = value_at(value, path)
    return found if isinstance(found, str) else ""


def items_at(value: object, path: str) -> list[object]:
    """Return the list at the dotted `path`; empty where there is none."""
    found = value_at(value, path)
    return found if isinstance(found, list) else []


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
