"""List the kinds of errors with their ids, causes and remedies.

Every error class with a remedy is a kind. Its id is stable; it is printed in the last line of the
message, in `--json` output and in the reference of the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc

from imager.app.lock import errors as _lock
from imager.bootassets import errors as _bootassets
from imager.cache import errors as _cache
from imager.distro import errors as _distro
from imager.efi import errors as _efi
from imager.formats import errors as _formats
from imager.image import errors as _image
from imager.node import errors as _node
from imager.oci import errors as _oci
from imager.support.errors import ImagerError, InputError
from imager.talos import errors as _talos

# Importing these modules registers their error classes.
_ROOMS = (_bootassets, _cache, _distro, _efi, _formats, _image, _lock, _node, _oci, _talos)


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """A kind of error; `cause` and `remedy` are full sentences."""

    id: str
    exit_code: int
    cause: str
    remedy: str


def error_kinds() -> tuple[ErrorKind, ...]:
    """Return all kinds of errors, sorted by id."""
    found = {kind.id: kind for kind in _kinds(ImagerError)}
    return tuple(found[each] for each in sorted(found))


def find_kind(text: str) -> ErrorKind:
    """Return the kind of error with the id `text`; raises InputError if there is none."""
    for kind in error_kinds():
        if kind.id == text:
            return kind
    raise InputError(f"unknown error id {text[:80]!r}", hint="`imager explain` lists all ids")


def _kinds(error: type[ImagerError]) -> Iterator[ErrorKind]:
    if "remedy" in vars(error):
        cause = " ".join(cleandoc(error.__doc__ or "").split("\n\n")[0].split())
        yield ErrorKind(error.id, error.exit_code, cause, error.remedy)
    for each in error.__subclasses__():
        yield from _kinds(each)
