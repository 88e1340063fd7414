"""What differs between two locks: one change a line, with what was pinned and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imager.app.lock.errors import ChangedSinceLockError
from imager.app.lock.inputs import BuildInput, InputKind
from imager.app.lock.model import Lock

_IN_FILES = (InputKind.BOOT_ASSET, InputKind.CERTIFICATE, InputKind.PUBLIC_KEY)


@dataclass(frozen=True, slots=True)
class Change:
    """What a lock pins as `pinned` and another has as `found`; None is absent.

    `remedy` says how to return to what is pinned.
    """

    what: str
    pinned: str | None
    found: str | None
    remedy: str

    def difference(self) -> str:
        """Return the change as a difference from what is pinned."""
        pinned, found = self.pinned or "nothing", self.found or "nothing"
        return f"{self.what}: pinned {pinned}, found {found}; {self.remedy}"


def changes(old: Lock, new: Lock) -> Iterator[Change]:
    """Yield all changes from one lock to another, in the order of the file."""
    yield from _moved({"imager": old.imager}, {"imager": new.imager}, "run imager {pinned}")
    yield from _moved(_time(old), _time(new), "unset it, or set it to {pinned}")
    yield from _moved(_fields(old), _fields(new), "correct the profile or the options")
    yield from _inputs(old, new)
    yield from _moved(old.programs, new.programs, "install the version {pinned}")
    yield from _moved(old.packages, new.packages, "install the version {pinned} with pip")


def _moved(old: Mapping[str, Any], new: Mapping[str, Any], remedy: str) -> Iterator[Change]:
    for name in dict.fromkeys((*old, *new)):
        pinned, found = old.get(name), new.get(name)
        if pinned != found:
            told = remedy.format(pinned=pinned) if pinned is not None else "leave it out"
            yield Change(name, _shown(pinned), _shown(found), told)


def _time(lock: Lock) -> Mapping[str, object]:
    return {"SOURCE_DATE_EPOCH": lock.sourceDateEpoch}


def _fields(lock: Lock) -> Mapping[str, object]:
    return dict(_flat("profile", lock.profile or {}))


def _shown(value: object) -> str | None:
    return None if value is None else str(value)


def _flat(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield each field of a profile with its path; a list is one value."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, below in value.items():
        yield from _flat(f"{path}.{key}", below)


def _inputs(old: Lock, new: Lock) -> Iterator[Change]:
    before, after = ({(each.kind, each.name): each for each in lock.inputs} for lock in (old, new))
    for key in dict.fromkeys((*before, *after)):
        pinned, found = before.get(key), after.get(key)
        if _identity(pinned) != _identity(found):
            kind, name = key
            what, remedy = f"{kind.value} {name}", _remedy(pinned, found)
            yield Change(what, _shown(pinned), _shown(found), remedy)


def _identity(each: BuildInput | None) -> object:
    """Return what must be the same: of an image in a registry the reference too."""
    return each and (each.digest, each.place if each.reference else None)


def _remedy(pinned: BuildInput | None, found: BuildInput | None) -> str:
    if pinned is None:
        return "leave it out"
    if pinned.reference and found is None:
        return f"name {pinned.place} again, or push the pinned image again"
    if pinned.reference and found and found.place != pinned.place:
        return f"name {pinned.place} again"
    what = "file" if pinned.kind in _IN_FILES else "input"
    at = f" at {pinned.place}" if pinned.place else ""
    return f"put the pinned {what}{at} back"


def raise_changes(lock: Lock, found: Lock, source: str, command: str) -> None:
    """Raise ChangedSinceLockError if `found` is not `lock`, which `command` updates."""
    # A program that the locked build did not need is not needed now.
    differences = [
        change.difference()
        for change in changes(lock, found)
        if change.pinned is not None or change.what not in found.programs
    ]
    if differences:
        raise ChangedSinceLockError(
            source,
            differences,
            hint=f"restore what changed, or pin it: `{command} --update -o {source}`",
        )
