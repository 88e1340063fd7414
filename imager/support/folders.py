"""Output folders: whether they are writable, and how much space is free."""

from __future__ import annotations

import errno
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imager.support.errors import (
    HostError,
    ImagerError,
    InputError,
    NoRoomError,
    NoSpaceError,
    no_room,
)
from imager.support.units import format_size

_DEVICES = Path("/dev")
# The only folder below /dev that is meant for files; see shm_overview(7).
_SHARED_MEMORY = _DEVICES / "shm"
# Created by Docker and Podman.
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CONTAINER_HINT = (
    "in a container run with --user $(id -u):$(id -g), and create the mounted folder beforehand "
    "(mkdir -p _out)"
)
_MOUNT_HINT = 'mount a folder of the host there: -v "$PWD/_out:/out"'
# The unit of st_blocks (stat(3type)), independent of the file system's block size.
_BLOCK = 512
# The number of characters that a partial file's name adds to the final name.
_MARK = len("..0123456789abcdef.partial")


def check_output_folder(folder: Path) -> None:
    """Raise HostError or InputError, with a hint, if files cannot be created in `folder`."""
    _check_is_for_files(folder)
    if not folder.exists():
        raise InputError(
            f"the output folder {folder} does not exist",
            hint=f"mkdir -p {shlex.quote(str(folder))}",
        )
    if not folder.is_dir():
        raise InputError(
            f"the output folder {folder} is not a folder",
            hint="choose another folder, or create one",
        )
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise HostError(
            f"the output folder {folder} is on a read-only file system",
            hint=_MOUNT_HINT
            if _is_in_container()
            else "choose another folder, or mount it writable",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise HostError(
            f"the output folder {folder} is not writable for user {os.geteuid()}",
            hint=_CONTAINER_HINT
            if _is_in_container()
            else "choose another folder, or run as a user who may write there",
        )


def _is_in_container() -> bool:
    return any(map(Path.exists, _CONTAINER_MARKS))


def ensure_folder(folder: Path) -> None:
    """Create `folder` and any missing parents; raises HostError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_create(folder, error) from error


@contextmanager
def created_folder(folder: Path) -> Iterator[None]:
    """Create `folder` and any missing parents for the duration of the block.

    If the block fails, the created folders are removed if they are empty. Raises HostError or
    InputError, with a hint, if files cannot be created in `folder`.
    """
    _check_is_for_files(folder)
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            place = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
            raise InputError(f"{place} is not a folder", hint="choose another folder") from None
        except OSError as error:
            raise cannot_create(folder, error) from error
        check_output_folder(folder)
        yield
    except BaseException:
        for each in missing:
            with suppress(OSError):  # not empty
                each.rmdir()
        raise


def _check_is_for_files(folder: Path) -> None:
    """Raise InputError for a folder below /dev, where a file could shadow a missing device."""
    within = (folder.absolute(), *folder.absolute().parents)
    if _DEVICES in within and _SHARED_MEMORY not in within:
        raise InputError(
            f"{folder} is for devices, not for files",
            hint="choose another folder, and write the output to the device with dd",
        )


def temporary_place() -> Path:
    """Return the folder for temporary files: $TMPDIR if set, otherwise the system default.

    Raises HostError if $TMPDIR is not a writable folder. There is no fallback, since the user may
    have set $TMPDIR to avoid the default folder.
    """
    chosen = os.environ.get("TMPDIR")
    if not chosen:
        return Path(tempfile.gettempdir())
    folder = Path(chosen).absolute()
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return folder
    why = "is not writable" if folder.is_dir() else "is not a folder"
    what = why if folder.exists() else "does not exist"
    raise HostError(
        f"TMPDIR is {chosen}, which {what}",
        hint="set TMPDIR to a writable folder, or unset it",
    )


def free_space(folder: Path) -> int:
    """Return the free bytes available to this user on the file system of `folder`.

    If the folder does not exist yet, that is the file system of its nearest existing parent.
    """
    existing = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    status = os.statvfs(existing)
    return status.f_bavail * status.f_frsize


def used_space(path: Path) -> int:
    """Return the disk usage in bytes of a file or folder; 0 if it does not exist."""
    if not path.is_dir():
        return path.lstat().st_blocks * _BLOCK if os.path.lexists(path) else 0
    return sum(
        (Path(root) / name).lstat().st_blocks * _BLOCK
        for root, _, names in os.walk(path)
        for name in names
    )


def check_free_space(folder: Path, needed: int) -> None:
    """Raise HostError if fewer than `needed` bytes are free in `folder`."""
    free = free_space(folder)
    if free < needed:
        raise NoSpaceError(
            f"{folder} has {format_size(free)} free, but {format_size(needed)} are needed",
            hint="free space there, or write to another folder",
        )


@contextmanager
def placed_in(folder: Path) -> Iterator[None]:
    """Add the location, `folder`, to out-of-space errors that the block raises."""
    try:
        yield
    except NoRoomError as error:
        cause = error.__cause__
        placed = no_room(cause, folder) if isinstance(cause, OSError) else None
        raise placed or error from cause
    except OSError as error:
        # The error of another file that is written during the block has its own file name.
        named = Path(os.fsdecode(error.filename)) if error.filename else folder
        placed = no_room(error, folder if named.is_relative_to(folder) else named.parent)
        if placed is None:
            raise
        raise placed from error


def cannot_create(path: Path, error: OSError) -> ImagerError:
    """Return the error to raise if `path` cannot be created."""
    if error.errno == errno.ENAMETOOLONG:
        return InputError(
            f"cannot create {path}: {error.strerror}",
            hint=f"choose a shorter name: the temporary file's name is {_MARK} characters longer",
        )
    return HostError(
        f"cannot create {path}: {error.strerror}",
        hint="check the folder's permissions and free space, or choose another folder",
    )
