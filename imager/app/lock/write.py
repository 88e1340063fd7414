"""Write a lock's file, new or over an old one, and tell what moved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imager.app.lock.changes import Change, changes
from imager.app.lock.model import Lock, lock_text, read_lock
from imager.support.atomic import write_atomic
from imager.support.errors import AlreadyExistsError, InputError


@dataclass(frozen=True, slots=True)
class WrittenLock:
    """A lock in the file `path`; `changes` are those to an old one, None if it is new."""

    path: Path
    lock: Lock
    changes: tuple[Change, ...] | None


def old_lock(path: Path, *, update: bool) -> Lock | None:
    """Return the lock to update; None for a new one.

    Raises AlreadyExistsError if a new lock would replace a file, InputError if the lock to update
    does not exist, InvalidLockError if it is damaged.
    """
    if update:
        if not path.exists():
            raise InputError(
                f"--update: {path} does not exist", hint="leave --update out to make a lock"
            )
        return read_lock(path)
    if path.exists():
        raise AlreadyExistsError(
            f"{path} exists", hint="--update prints what moved, and replaces it"
        )
    return None


def write_lock(path: Path, lock: Lock, old: Lock | None = None) -> WrittenLock:
    """Write `lock` to `path` atomically, over `old` only if something moved."""
    if old is None:
        write_atomic(path, lock_text(lock).encode(), clobber=False)
        return WrittenLock(path, lock, None)
    moved = tuple(changes(old, lock))
    if moved:
        write_atomic(path, lock_text(lock).encode())
    return WrittenLock(path, lock, moved)
