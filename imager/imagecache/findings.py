"""What reading a manifest tells: images, what may need one, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from imager.errors import ImagerError, InputError
from imager.oci.reference import Reference

_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class ImageField:
    """A field at `where` whose value must be an image reference."""

    where: str
    value: object


@dataclass(frozen=True, slots=True)
class Mention:
    """A full reference at `where`, in an argument or a variable: it may be pulled one day."""

    where: str
    image: str


@dataclass(frozen=True, slots=True)
class Note:
    """What at `where` may need images that cannot be seen there."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at `where`."""

    where: str
    text: str


Finding = ImageField | Mention | Note | Problem


def shown(text: str) -> str:
    """Return a name or key as it is shown: cut to the 253 characters that Kubernetes allows.

    It is repeated for each finding below it, and one of megabytes would be a bomb.
    """
    return text[:_LONGEST_NAME]


def within(place: str, finding: Finding) -> Finding:
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


def is_reference(value: object) -> bool:
    """Whether `value` is text that names an image, be it in short."""
    if not isinstance(value, str):
        return False
    try:
        Reference.parse(value)
    except ImagerError:
        return False
    return True


def full_reference(value: object) -> str:
    """Return the full reference of the image that a field's `value` names.

    Raises InputError, or what `Reference.parse` raises, when it names none.
    """
    if value is None or value == "":
        raise InputError("the image is empty")
    if not isinstance(value, str):
        raise InputError(f"the image is a {type(value).__name__}, not text: is a quote missing?")
    return str(Reference.parse(value))
