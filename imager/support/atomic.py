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
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imager.support.errors import HostError, ImagerError, InputError, NoRoomError, no_room
from imager.support.units import format_size
from imager.support.workers import worker_pool

_DEVICES = Path("/dev")
# Below it only this is for files; see shm_overview(7).
_SHARED_MEMORY = _DEVICES / "shm"
_AT_FDCWD = -100
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
# Docker and Podman make them.
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CONTAINER_HINT = (
    "in a container run with --user $(id -u):$(id -g), and create the mounted folder beforehand "
    "(mkdir -p _out)"
)
_MOUNT_HINT = 'mount a folder of the host there: -v "$PWD/_out:/out"'
# How many files are flushed at a time.
_FLUSHES = 16
# The unit of st_blocks (stat(3type)), whatever the file system's blocks are.
_BLOCK = 512
# By how much a partial file's name is longer than the final one.
_MARK = len("..0123456789abcdef.partial")

# Whether what a failed run has left in a folder is worth keeping.
Keep = Callable[[Path, BaseException], bool]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a private temporary folder (in TMPDIR), removed at the end, or else by a later run.

    Raises HostError when it cannot be made.
    """
    # The user is in the name: TMPDIR is shared, and what others left cannot be removed.
    place = temporary_place() / f"imager-{os.geteuid()}"
    with partial_folder(place, mode=0o700) as folder:
        yield folder


def temporary_place() -> Path:
    """Return the folder for temporary files: $TMPDIR if it is set, else the system's.

    Raises HostError when $TMPDIR is not a writable folder: another one may have been avoided on
    purpose.
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
        f"{chosen}, which TMPDIR names, {what}",
        hint="set TMPDIR to a folder that can be written, or leave it unset",
    )


def check_output_folder(folder: Path) -> None:
    """Raise HostError or InputError, with what to do, unless new files can be made in `folder`."""
    _check_is_for_files(folder)
    if not folder.exists():
        raise InputError(
            f"the output folder {folder} does not exist",
            hint=f"mkdir -p {shlex.quote(str(folder))}",
        )
    if not folder.is_dir():
        raise InputError(
            f"the output folder {folder} is not a folder", hint="choose a folder, or make one"
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
    """Make `folder` and its parents, as far as they are missing; raises HostError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_create(folder, error) from error


@contextmanager
def created_folder(folder: Path) -> Iterator[None]:
    """Make `folder` and its parents, as far as they are missing, for the block.

    When the block fails, those that were made are removed again if they are empty. Raises
    HostError or InputError, with what to do, when new files cannot be made in `folder`.
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
            raise _cannot_create(folder, error) from error
        check_output_folder(folder)
        yield
    except BaseException:
        for each in missing:
            with suppress(OSError):  # one with something in it
                each.rmdir()
        raise


def existing_folder(folder: Path) -> Path:
    """Return the nearest folder above `folder` that exists, or itself."""
    return next(each for each in (folder, *folder.absolute().parents) if each.is_dir())


def _check_is_for_files(folder: Path) -> None:
    """Raise InputError for a folder below /dev, where a file would hide a missing device."""
    within = (folder.absolute(), *folder.absolute().parents)
    if _DEVICES in within and _SHARED_MEMORY not in within:
        raise InputError(
            f"{folder} is a place for devices, not for files",
            hint="choose another folder, and write the output to the device with dd",
        )


def free_space(folder: Path) -> int:
    """Return the bytes that this user may still write to the file system of `folder`.

    The folder need not exist yet.
    """
    status = os.statvfs(existing_folder(folder))
    return status.f_bavail * status.f_frsize


def used_space(folder: Path) -> int:
    """Return the bytes that the files under `folder` take on the disk; 0 without the folder."""
    return sum(
        (Path(root) / name).lstat().st_blocks * _BLOCK
        for root, _, names in os.walk(folder)
        for name in names
    )


def check_free_space(folder: Path, needed: int) -> None:
    """Raise HostError when fewer than `needed` bytes are free in `folder`."""
    free = free_space(folder)
    if free < needed:
        raise HostError(
            f"{folder} has {format_size(free)} free and {format_size(needed)} are needed",
            hint="free space there, or write to another folder",
        )


@contextmanager
def placed_in(folder: Path) -> Iterator[None]:
    """Let errors of the block that say that there was no room name the place: `folder`."""
    try:
        yield
    except NoRoomError as error:
        cause = error.__cause__
        placed = no_room(cause, folder) if isinstance(cause, OSError) else None
        raise placed or error from cause
    except OSError as error:
        # What else is written in the meantime has a name.
        named = Path(os.fsdecode(error.filename)) if error.filename else folder
        placed = no_room(error, folder if named.is_relative_to(folder) else named.parent)
        if placed is None:
            raise
        raise placed from error


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o666, clobber: bool = True) -> Iterator[int]:
    """Yield a descriptor of an empty temporary file that becomes `path` when the block ends well.

    An existing `path` is replaced in one step, or unless `clobber` is an InputError; when the block
    fails, nothing is left behind. Of the permissions `mode`, the umask takes away what it says.
    """
    sweep_partials(path)
    # The name is known before the file is there: a signal at any moment leaves none behind.
    temporary, descriptor = _partial_name(path), -1
    try:
        descriptor = _locked_file(temporary, path, mode)
        with placed_in(path.parent):
            yield descriptor
            os.fsync(descriptor)
        if clobber:
            temporary.replace(path)
        else:
            _rename_to_new(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):  # which would hide what went wrong
            temporary.unlink()
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` when the block ends well.

    An existing `path` is exchanged in one step and then removed. Files are flushed first.
    """
    with partial_folder(path) as temporary:
        yield temporary
        _publish(temporary, path)


@contextmanager
def atomic_file_in_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; the file in it that is called as `path` is, becomes `path`.

    For a file that is made of others. Whatever else is in the folder is removed in the end.
    """
    with partial_folder(path) as temporary:
        yield temporary
        _publish_file(temporary / path.name, path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends well; only its owner sees it.

    Raises InputError, before or after the block, when there is something at `path`: nothing is
    ever replaced but an empty folder.
    """
    _check_nothing_at(path)
    with partial_folder(path) as temporary:
        temporary.chmod(0o700)
        yield temporary
        _sync_tree(temporary)
        try:
            temporary.rename(path)  # which replaces an empty folder alone (rename(2))
        except OSError as error:
            _check_nothing_at(path)
            raise _cannot_create(path, error) from error
        sync_folder(path.parent)


def _check_nothing_at(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise InputError(
            f"{path} exists already, and nothing in it is overwritten",
            hint="name a folder that does not exist or is empty",
        )


@contextmanager
def resumable_folder(path: Path, *, key: str, keep: Keep) -> Iterator[Path]:
    """Yield a folder as `atomic_folder` does, with what an earlier run left in it.

    That run must have had the same `key`, which says all that decides what comes into the folder.
    When the block fails, the folder stays for a later run if `keep(folder, error)`. A second run
    at the same time starts with an empty one.
    """
    with _resumed_folder(path, key, keep) as temporary:
        yield temporary
        _publish(temporary, path)


@contextmanager
def resumable_file_in_folder(path: Path, *, key: str, keep: Keep) -> Iterator[Path]:
    """Yield a folder as `atomic_file_in_folder` does, kept for a later run as a resumable one."""
    with _resumed_folder(path, key, keep) as temporary:
        yield temporary
        _publish_file(temporary / path.name, path)


@contextmanager
def _resumed_folder(path: Path, key: str, keep: Keep) -> Iterator[Path]:
    temporary, descriptor = _keyed_folder(path, key) or _fresh_folder(path)
    sweep_partials(path)
    kept = False
    try:
        with placed_in(path.parent):
            yield temporary
    except BaseException as error:
        kept = keep(temporary, error)
        raise
    finally:
        if not kept:
            shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


def keyed_partial(path: Path, key: str) -> Path:
    """Return where `resumable_folder` keeps what comes to `path`."""
    return path.with_name(f".{path.name}.{key}.partial")


@contextmanager
def partial_folder(path: Path, *, mode: int = 0o777) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`, removed at the end: by a later run if need be.

    Of the permissions `mode`, the umask takes away what it says. Raises HostError when it cannot be
    made.
    """
    sweep_partials(path)
    temporary, descriptor = _partial_name(path), -1
    try:
        descriptor = _locked_folder(temporary, path, mode)
        with placed_in(path.parent):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def _publish(temporary: Path, path: Path) -> None:
    _sync_tree(temporary)
    if path.exists():
        _exchange(temporary, path)
    else:
        temporary.rename(path)
    sync_folder(path.parent)


def _publish_file(temporary: Path, path: Path) -> None:
    _sync_file(temporary)
    os.replace(temporary, path)  # noqa: PTH105
    sync_folder(path.parent)


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
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def _locked_file(temporary: Path, path: Path, mode: int) -> int:
    """Create the file `temporary` that is to become `path`, and return its locked descriptor."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, mode)
        except OSError as error:
            raise _cannot_create(path, error) from error
        if _lock(descriptor, temporary):
            return descriptor


def _locked_folder(temporary: Path, path: Path, mode: int = 0o777) -> int:
    """Create the folder `temporary` that is to become `path`, and return its locked descriptor."""
    while True:
        try:
            temporary.mkdir(mode)
        except OSError as error:
            raise _cannot_create(path, error) from error
        with suppress(FileNotFoundError):  # another run swept it away in between
            descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _lock(descriptor, temporary):
                return descriptor


def _fresh_folder(path: Path) -> tuple[Path, int]:
    temporary = _partial_name(path)
    return temporary, _locked_folder(temporary, path)


def _keyed_folder(path: Path, key: str) -> tuple[Path, int] | None:
    """Lock the folder of `key`, made if need be; None while another run holds it."""
    temporary = keyed_partial(path, key)
    try:
        temporary.mkdir(exist_ok=True)
        descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.parent.is_dir():
            return _keyed_folder(path, key)  # another run swept it away in between
        raise _cannot_create(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here = os.path.samestat(os.fstat(descriptor), temporary.stat())
    except OSError:
        here = False
    if here:
        return temporary, descriptor
    os.close(descriptor)
    return None


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


def _cannot_create(path: Path, error: OSError) -> ImagerError:
    if error.errno == errno.ENAMETOOLONG:
        return InputError(
            f"cannot create {path}: {error.strerror}",
            hint=f"choose a shorter name: while it is written, {_MARK} characters come to it",
        )
    return HostError(
        f"cannot create {path}: {error.strerror}",
        hint="check the folder's permissions and free space, or choose another folder",
    )


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Give a file a name that nothing has, in one step where the system can."""
    try:
        if _renamed(temporary, path, _RENAME_NOREPLACE):
            return
        exists = os.path.lexists(path)
    except FileExistsError:
        exists = True
    if exists:
        raise InputError(f"{path} exists already, and was not replaced")
    temporary.rename(path)


def _renamed(temporary: Path, path: Path, flag: int) -> bool:
    """Rename by renameat2(2) with `flag`; False where the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(temporary), _AT_FDCWD, os.fsencode(path))
    if libc.renameat2(_AT_FDCWD, *names, flag) == 0:
        return True
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), os.fspath(path))
    return False


def _exchange(temporary: Path, path: Path) -> None:
    """Swap two folders in one step, or in two where the system cannot."""
    if _renamed(temporary, path, _RENAME_EXCHANGE):
        return
    old = _partial_name(path)
    path.rename(old)
    temporary.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems cannot flush a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    """Flush the folder with all in it, several at a time: a disk serves those that wait as one."""
    walked = [(Path(root), names) for root, _, names in os.walk(folder)]
    files = (root / name for root, names in walked for name in names)
    with worker_pool(_FLUSHES, "flush") as pool:
        flushed = [pool.submit(_sync_file, path) for path in files]
        flushed += [pool.submit(sync_folder, root) for root, _ in walked]
        for each in flushed:
            each.result()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
