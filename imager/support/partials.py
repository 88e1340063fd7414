"""Temporary files and folders next to their targets (`.NAME.RANDOM.partial`).

Each one is locked with flock(2) while it is written, so that a later run can detect and remove
those of killed processes.
"""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imager.support.descriptors import opened
from imager.support.folders import cannot_create, placed_in, temporary_place


@dataclass(frozen=True, slots=True)
class Resume:
    """How to resume a failed run: `keep(folder, error)` decides whether to keep its folder.

    `key` identifies all inputs that determine the folder's contents: a later run with the same
    key reuses the folder. A concurrent run with that key starts with an empty folder.
    """

    key: str
    keep: Callable[[Path, BaseException], bool]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a private temporary folder in TMPDIR, removed at the end or by a later run.

    Raises HostError if it cannot be created.
    """
    # TMPDIR is shared, and other users' leftovers cannot be removed, so the name has the user id.
    place = temporary_place() / f"imager-{os.geteuid()}"
    with partial_folder(place, mode=0o700) as folder:
        yield folder


@contextmanager
def partial_folder(path: Path, *, mode: int = 0o777) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`, removed at the end or by a later run.

    The umask applies to `mode`. Raises HostError if it cannot be created.
    """
    sweep_partials(path)
    temporary, descriptor = partial_name(path), -1
    try:
        descriptor = _locked_folder(temporary, path, mode)
        with placed_in(path.parent):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def resumed_folder(path: Path, resume: Resume) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, with any contents that an earlier run left."""
    temporary, descriptor = _keyed_folder(path, resume.key) or _fresh_folder(path)
    sweep_partials(path)
    kept = False
    try:
        with placed_in(path.parent):
            yield temporary
    except BaseException as error:
        kept = resume.keep(temporary, error)
        raise
    finally:
        if not kept:
            shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


def keyed_partial(path: Path, key: str) -> Path:
    """Return the path where `resumed_folder` keeps the data for `path`."""
    return path.with_name(f".{path.name}.{key}.partial")


def locked_file(temporary: Path, path: Path, mode: int) -> int:
    """Create the temporary file of `path`, and return its locked descriptor."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, mode)
        except OSError as error:
            raise cannot_create(path, error) from error
        if _lock(descriptor, temporary):
            return descriptor


def sweep_partials(path: Path) -> None:
    """Remove leftovers of killed runs: partial files of `path` that no process has locked."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with suppress(OSError), _unused(stale):
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink(missing_ok=True)


def is_in_use(path: Path) -> bool:
    """Return whether a run has locked the partial `path`, or it cannot be opened."""
    try:
        with _unused(path):
            return False
    except OSError:
        return True


@contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Lock a partial file for the block; raises OSError, BlockingIOError if a run has locked it."""
    with opened(path, os.O_RDONLY | os.O_NOFOLLOW) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def partial_name(path: Path) -> Path:
    """Return an unused name for a partial file next to `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def _locked_folder(temporary: Path, path: Path, mode: int = 0o777) -> int:
    """Create the temporary folder of `path`, and return its locked descriptor."""
    while True:
        try:
            temporary.mkdir(mode)
        except OSError as error:
            raise cannot_create(path, error) from error
        with suppress(FileNotFoundError):  # a concurrent run has removed it
            descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _lock(descriptor, temporary):
                return descriptor


def _keyed_folder(path: Path, key: str) -> tuple[Path, int] | None:
    """Lock the folder of `key`, created if missing; None if another run has locked it."""
    temporary = keyed_partial(path, key)
    try:
        temporary.mkdir(exist_ok=True)
        descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.parent.is_dir():
            return _keyed_folder(path, key)  # a concurrent run has removed it
        raise cannot_create(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here = os.path.samestat(os.fstat(descriptor), temporary.stat())
    except OSError:
        here = False
    if here:
        return temporary, descriptor
    os.close(descriptor)
    return None


def _fresh_folder(path: Path) -> tuple[Path, int]:
    temporary = partial_name(path)
    return temporary, _locked_folder(temporary, path)


def _lock(descriptor: int, temporary: Path) -> bool:
    """Lock a file or folder just created; return False if a concurrent run has removed it.

    Waits while a run that is removing leftovers holds the lock for a moment.
    """
    with suppress(OSError):
        # Without flock support this fails, but then no run removes leftovers either.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if temporary.exists():
        return True
    os.close(descriptor)
    return False
