"""File systems mounted by the system calls themselves: a node has no mount program.

mount(2), umount2(2), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from imager.node.errors import MountFailedError
from imager.support.errors import HostError, ImagerError, OutputError, UnsupportedError

_MOUNTS = Path("/proc/self/mountinfo")
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXECUTION, _REMOUNT = 1, 2, 4, 8, 32
_SAFE = _NO_SUID | _NO_DEVICES | _NO_EXECUTION
_DETACH, _NO_FOLLOW = 2, 8
# Names in any letters: those of FAT and Joliet are UTF-16.
_OPTIONS = {"vfat": "utf8=1,shortname=mixed", "iso9660": "iocharset=utf8"}
_ESCAPED = re.compile(r"\\([0-7]{3})")


def mount(device: Path, target: Path, filesystem: str, *, writable: bool) -> None:
    """Mount `device` at the folder `target`, which is made; no programs, devices or setuid there.

    Where there is a mount already, another one covers it. Mounting ext4 read-only replays its
    journal, which writes to the device, unless that is read-only itself. Raises UnsupportedError
    for a file system that the kernel does not know, HostError saying what to do.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MountFailedError(f"{target} cannot be made: {error.strerror}") from error
    flags = _SAFE | (0 if writable else _READ_ONLY)
    code = _mount(device, target, filesystem, flags, _OPTIONS.get(filesystem, ""))
    if code:
        raise _mount_error(device, target, filesystem, code)


def remount(target: Path, *, writable: bool) -> None:
    """Make the mount at `target` writable, or read-only once all is written; raises HostError.

    It cannot become read-only while a file is open for writing.
    """
    flags = _REMOUNT | _SAFE | (0 if writable else _READ_ONLY)
    if code := _mount(Path("none"), target, "", flags, ""):
        what = "writable" if writable else "read-only"
        if code == errno.EBUSY:
            raise MountFailedError(
                f"{target} cannot be made {what}: files on it are open for writing",
                hint="stop what writes to it",
            )
        raise _system_error(f"{target} cannot be made {what}", code)


def unmount(target: Path) -> None:
    """Unmount what is at `target`, all written.

    While something uses it, it goes from the tree of files only, and is unmounted when its last
    user is gone. Raises HostError when nothing is mounted there, OutputError when writing failed.
    """
    code = _unmount(target, _NO_FOLLOW)
    if code == errno.EBUSY:
        code = _unmount(target, _NO_FOLLOW | _DETACH)
    if code in (errno.EINVAL, errno.ENOENT):
        raise MountFailedError(f"nothing is mounted at {target}")
    if code == errno.EIO:
        raise OutputError(f"{target}: the device failed while it was unmounted")
    if code:
        raise _system_error(f"{target} cannot be unmounted", code)


def mounted_at(target: Path, mounts: Path = _MOUNTS) -> Path | None:
    """Return the device that is mounted at `target`, the topmost; None if nothing is."""
    wanted = os.path.realpath(target)
    return next((device for place, device in _mounted(mounts)[::-1] if place == wanted), None)


def places_of(device: Path, mounts: Path = _MOUNTS) -> tuple[Path, ...]:
    """Return where `device` is mounted, oldest first."""
    wanted = os.path.realpath(device)
    found = _mounted(mounts)
    return tuple(Path(place) for place, other in found if os.path.realpath(other) == wanted)


def _mounted(mounts: Path) -> list[tuple[str, Path]]:
    try:
        text = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise MountFailedError(
            f"{mounts} cannot be read: {error.strerror}", hint="mount proc at /proc"
        ) from error
    return list(_parsed(text))


def _parsed(text: str) -> Iterator[tuple[str, Path]]:
    """Yield (place, device) of each mount: fields 5, and the second behind the hyphen."""
    for line in text.split("\n"):
        before, hyphen, after = line.partition(" - ")
        if hyphen:
            yield _unescaped(before.split(" ")[4]), Path(_unescaped(after.split(" ")[1]))


def _unescaped(text: str) -> str:
    """Return a field of mountinfo with spaces, tabs, line feeds and backslashes as they are."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


def _mount(device: Path, target: Path, filesystem: str, flags: int, options: str) -> int:
    arguments = [os.fsencode(each) for each in (device, target, filesystem)]
    result = _libc().mount(*arguments, ctypes.c_ulong(flags), options.encode())
    return ctypes.get_errno() if result else 0


def _unmount(target: Path, flags: int) -> int:
    result = _libc().umount2(os.fsencode(target), ctypes.c_int(flags))
    return ctypes.get_errno() if result else 0


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount_error(device: Path, target: Path, filesystem: str, code: int) -> ImagerError:
    problem = f"{device} cannot be mounted at {target} as {filesystem}"
    match code:
        case errno.ENODEV:
            return UnsupportedError(
                f"{problem}: this kernel has no {filesystem}",
                hint=f"load the kernel's module for it (`modprobe {filesystem}`)",
            )
        case errno.EBUSY:
            return MountFailedError(
                f"{problem}: it is in use",
                hint="unmount it where it is mounted; see /proc/self/mountinfo",
            )
        case errno.EINVAL:
            return MountFailedError(
                f"{problem}: it holds no such file system, or a damaged one",
                hint="check it with fsck, or format it",
            )
        case errno.ENOTBLK | errno.ENOENT | errno.ENXIO:
            return MountFailedError(
                f"{problem}: there is no such device", hint="is it still plugged in?"
            )
        case errno.EACCES | errno.EROFS:
            return MountFailedError(
                f"{problem} for writing: the device is read-only",
                hint="mount it read-only, or switch off its write protection",
            )
    return _system_error(problem, code)


def _system_error(problem: str, code: int) -> HostError:
    hint = "run it as root" if code in (errno.EPERM, errno.EACCES) else ""
    return MountFailedError(f"{problem}: {os.strerror(code)}", hint=hint)
