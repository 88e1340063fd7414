"""Write files and folders atomically: they appear complete or not at all.

They are written next to their target (see `imager.support.partials`), flushed and renamed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imager.support.descriptors import opened
from imager.support.errors import AlreadyExistsError
from imager.support.folders import cannot_create, placed_in
from imager.support.partials import (
    Resume,
    locked_file,
    partial_folder,
    partial_name,
    resumed_folder,
    sweep_partials,
)
from imager.support.workers import worker_pool

_AT_FDCWD = -100
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
# The number of files flushed in parallel.
_FLUSHES = 16


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o666, clobber: bool = True) -> Iterator[int]:
    """Yield a descriptor of an empty temporary file that becomes `path` if the block succeeds.

    An existing `path` is replaced atomically; with `clobber=False` it raises InputError. If the
    block fails, the temporary file is removed. The umask applies to `mode`.
    """
    sweep_partials(path)
    # Choose the name before creating the file, so that a signal never leaves a file behind.
    temporary, descriptor = partial_name(path), -1
    try:
        descriptor = locked_file(temporary, path, mode)
        with placed_in(path.parent):
            yield descriptor
            os.fsync(descriptor)
        put_in_place(temporary, path, clobber=clobber)
    except BaseException:
        with suppress(OSError):  # an error here would hide the original one
            temporary.unlink()
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def put_in_place(temporary: Path, path: Path, *, clobber: bool) -> None:
    """Rename a flushed file to `path`; with `clobber=False` an existing one raises InputError."""
    if clobber:
        temporary.replace(path)
    else:
        _rename_to_new(temporary, path)
    sync_folder(path.parent)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o666, clobber: bool = True) -> None:
    """Write a small file atomically; see `atomic_file`."""
    with (
        atomic_file(path, mode=mode, clobber=clobber) as descriptor,
        open(descriptor, "wb", closefd=False) as file,
    ):
        file.write(data)


@contextmanager
def atomic_folder(
    path: Path, *, resume: Resume | None = None, one_file: bool = False
) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` if the block succeeds.

    Files are flushed first. An existing `path` is exchanged atomically and then removed. With
    `one_file`, only the file in the folder that has the name of `path` becomes `path`; use it for
    a file that is built from others. With `resume`, the folder may contain files from an earlier
    run.
    """
    folder = resumed_folder(path, resume) if resume else partial_folder(path)
    with folder as temporary:
        yield temporary
        if one_file:
            _sync_file(temporary / path.name)
            (temporary / path.name).replace(path)
        else:
            _sync_tree(temporary)
            _publish(temporary, path)
        sync_folder(path.parent)


@contextmanager
def new_folder(path: Path, *, private: bool = True) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` if the block succeeds.

    It is `private` to its owner, or has the usual mode. Raises InputError, before or after the
    block, if `path` exists: only an empty folder is replaced.
    """
    _check_nothing_at(path)
    with partial_folder(path) as temporary:
        if private:
            temporary.chmod(0o700)
        yield temporary
        _sync_tree(temporary)
        try:
            temporary.rename(path)  # replaces only an empty folder (rename(2))
        except OSError as error:
            _check_nothing_at(path)
            raise cannot_create(path, error) from error
        sync_folder(path.parent)


def _check_nothing_at(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise AlreadyExistsError(
            f"{path} exists already, and nothing in it is overwritten",
            hint="name a folder that does not exist or is empty",
        )


def _publish(temporary: Path, path: Path) -> None:
    """Rename a folder to `path`, or swap the two, in one step if the system supports it."""
    if not path.exists():
        temporary.rename(path)
    elif not _renamed(temporary, path, _RENAME_EXCHANGE):
        old = partial_name(path)
        path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Rename a file to an unused name, atomically where the system supports it."""
    try:
        if _renamed(temporary, path, _RENAME_NOREPLACE):
            return
        exists = os.path.lexists(path)
    except FileExistsError:
        exists = True
    if exists:
        raise AlreadyExistsError(f"{path} exists already, and was not replaced")
    temporary.rename(path)


def _renamed(temporary: Path, path: Path, flag: int) -> bool:
    """Rename with renameat2(2) and `flag`; return False if the system does not support it."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(temporary), _AT_FDCWD, os.fsencode(path))
    if libc.renameat2(_AT_FDCWD, *names, flag) == 0:
        return True
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), os.fspath(path))
    return False


def sync_folder(folder: Path) -> None:
    """Flush the directory entries of `folder` to the disk."""
    with (
        opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor,
        suppress(OSError),  # some network file systems cannot flush a folder
    ):
        os.fsync(descriptor)


def _sync_tree(folder: Path) -> None:
    """Flush a folder recursively, in parallel, because disks batch concurrent flushes."""
    walked = [(Path(root), names) for root, _, names in os.walk(folder)]
    files = (root / name for root, names in walked for name in names)
    with worker_pool(_FLUSHES, "flush") as pool:
        flushed = [pool.submit(_sync_file, path) for path in files]
        flushed += [pool.submit(sync_folder, root) for root, _ in walked]
        for each in flushed:
            each.result()


def _sync_file(path: Path) -> None:
    with opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)
