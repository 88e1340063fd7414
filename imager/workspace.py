"""Outputs that appear whole or not at all, and scratch folders for metadata.

An output is written to a temporary file beside its target (`.NAME.RANDOM.partial`), flushed and
renamed. The temporary file is held by an exclusive flock(2), so a later run knows of one
that no process holds (its writer was killed) that it may be removed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imager.errors import HostError, InputError
from imager.units import format_size

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a private temporary folder (in TMPDIR), removed at the end."""
    with tempfile.TemporaryDirectory(prefix="imager-") as folder:
        yield Path(folder)


def check_output_folder(folder: Path) -> None:
    """Raise HostError or InputError, with what to do, unless new files can be made in `folder`."""
    if not folder.exists():
        raise InputError(f"the output folder {folder} does not exist", hint=f"mkdir -p {folder}")
    if not folder.is_dir():
        raise InputError(f"the output folder {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HostError(
            f"the output folder {folder} is not writable for user {os.geteuid()}",
            hint="in a container run with --user $(id -u):$(id -g), and create the mounted "
            "folder beforehand (mkdir -p _out)",
        )


def free_space(folder: Path) -> int:
    """Return the bytes that this user may still write to the file system of `folder`."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def check_free_space(folder: Path, needed: int) -> None:
    """Raise HostError when fewer than `needed` bytes are free in `folder`."""
    free = free_space(folder)
    if free < needed:
        raise HostError(
            f"{folder} has {format_size(free)} free and {format_size(needed)} are needed",
            hint="free space there, or write to another folder",
        )


@contextmanager
def atomic_file(path: Path) -> Iterator[int]:
    """Yield a descriptor of an empty temporary file that becomes `path` when the block ends well.

    An existing `path` is replaced in one step; when the block fails, nothing is left behind.
    """
    sweep_partials(path)
    temporary, descriptor = _locked_file(path)
    try:
        yield descriptor
        os.fsync(descriptor)
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` when the block ends well.

    An existing `path` is exchanged in one step and then removed. Files are flushed first.
    """
    with partial_folder(path) as temporary:
        yield temporary
        _sync_tree(temporary)
        if path.exists():
            _exchange(temporary, path)
        else:
            temporary.rename(path)
        _sync_folder(path.parent)


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`, removed at the end: by a later run if need be.

    Raises HostError when it cannot be made.
    """
    sweep_partials(path)
    temporary, descriptor = _locked_folder(path)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


def sweep_partials(path: Path) -> None:
    """Remove what killed runs left of `path`: partial files that no process holds locked."""
    for stale in path.parent.glob(f".{_escaped(path.name)}.*.partial"):
        with suppress(OSError):
            descriptor = os.open(stale, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(stale)
            finally:
                os.close(descriptor)


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _partial_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _locked_file(path: Path) -> tuple[Path, int]:
    while True:
        temporary = _partial_name(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, 0o666)
        except FileExistsError:
            continue
        except OSError as error:
            raise _cannot_create(path, error) from error
        if _lock(descriptor, temporary):
            return temporary, descriptor


def _locked_folder(path: Path) -> tuple[Path, int]:
    while True:
        temporary = _partial_name(path)
        try:
            temporary.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise _cannot_create(path, error) from error
        descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if _lock(descriptor, temporary):
            return temporary, descriptor


def _lock(descriptor: int, temporary: Path) -> bool:
    """Lock what was just created; False when another run swept it away in between."""
    with suppress(OSError):
        # a file system without flock: nothing can be swept there either
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if temporary.exists():
        return True
    os.close(descriptor)
    return False


def _cannot_create(path: Path, error: OSError) -> HostError:
    return HostError(
        f"cannot create {path}: {error.strerror}",
        hint="check the folder's permissions and free space, or choose another folder",
    )


def _exchange(temporary: Path, path: Path) -> None:
    """Swap two folders in one step (renameat2(2)), or in two where the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(temporary), _AT_FDCWD, os.fsencode(path))
    if libc.renameat2(_AT_FDCWD, *names, _RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), os.fspath(path))
    old = _partial_name(path)
    path.rename(old)
    temporary.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems cannot flush a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(root) / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _sync_folder(Path(root))
