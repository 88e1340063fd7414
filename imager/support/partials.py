"""Temporary files and folders beside their targets (`.NAME.RANDOM.partial`).

Each is locked by flock(2) while it is written, so a later run can tell one whose writer was killed,
and removes it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imager.support.folders import cannot_create, placed_in, temporary_place


@dataclass(frozen=True, slots=True)
class Resume:
    """How a failed run is resumed: `keep(folder, error)` says if its folder is worth keeping.

    `key` stands for everything that decides what comes into the folder: a later run with the same
    one gets it. A second run at the same time starts with an empty folder.
    """

    key: str
    keep: Callable[[Path, BaseException], bool]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a private temporary folder (in TMPDIR), removed at the end, or else by a later run.

    Raises HostError when it cannot be made.
    """
    # The user is in the name: TMPDIR is shared, and what others left cannot be removed.
    place = temporary_place() / f"imager-{os.geteuid()}"
    with partial_folder(place, mode=0o700) as folder:
        yield folder


@contextmanager
def partial_folder(path: Path, *, mode: int = 0o777) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`, removed at the end: by a later run if need be.

    Of the permissions `mode`, the umask takes away what it says. Raises HostError when it cannot be
    made.
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
    """Yield a temporary folder beside `path`, with what an earlier run left in it."""
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
    """Return where `resumed_folder` keeps what comes to `path`."""
    return path.with_name(f".{path.name}.{key}.partial")


def locked_file(temporary: Path, path: Path, mode: int) -> int:
    """Create the file `temporary` that is to become `path`, and return its locked descriptor."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, mode)
        except OSError as error:
            raise cannot_create(path, error) from error
        if _lock(descriptor, temporary):
            return descriptor


def sweep_partials(path: Path) -> None:
    """Remove what killed runs left of `path`: partial files that no process holds locked."""
    for stale in path.parent.glob(f".{_escaped(path.name)}.*.partial"):
        with suppress(OSError), _unused(stale):
            _remove(stale)


def is_in_use(path: Path) -> bool:
    """Whether a run holds the partial file or folder `path`, or it cannot be opened."""
    try:
        with _unused(path):
            return False
    except OSError:
        return True


@contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Hold a partial file for the block; raises OSError, BlockingIOError when a run holds it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def partial_name(path: Path) -> Path:
    """Return a name beside `path` that nothing has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def _locked_folder(temporary: Path, path: Path, mode: int = 0o777) -> int:
    """Create the folder `temporary` that is to become `path`, and return its locked descriptor."""
    while True:
        try:
            temporary.mkdir(mode)
        except OSError as error:
            raise cannot_create(path, error) from error
        with suppress(FileNotFoundError):  # another run swept it away in between
            descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _lock(descriptor, temporary):
                return descriptor


def _keyed_folder(path: Path, key: str) -> tuple[Path, int] | None:
    """Lock the folder of `key`, made if need be; None while another run holds it."""
    temporary = keyed_partial(path, key)
    try:
        temporary.mkdir(exist_ok=True)
        descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.parent.is_dir():
            return _keyed_folder(path, key)  # another run swept it away in between
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
    """Lock what was just created; False when another run swept it away in between.

    A run that is sweeping it holds the lock for a moment, which is waited for.
    """
    with suppress(OSError):
        # a file system without flock: nothing can be swept there either
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if temporary.exists():
        return True
    os.close(descriptor)
    return False
