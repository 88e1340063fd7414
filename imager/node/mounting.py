"""Mounts file systems with system calls, as a node has no mount program.

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
# Support names in any script: those of FAT and Joliet are UTF-16.
_OPTIONS = {"vfat": "utf8=1,shortname=mixed", "iso9660": "iocharset=utf8"}
_NO_DEVICE = (": there is no such device", "check that it is still plugged in")
_READ_ONLY_DEVICE = (
    " for writing: the device is read-only",
    "mount it read-only, or turn off its write protection",
)
# The problem and the hint for each error of mount(2).
_PROBLEMS = {
    errno.EBUSY: (
        ": it is in use",
        "unmount it where it is mounted; see /proc/self/mountinfo",
    ),
    errno.EINVAL: (
        ": it has no such file system, or a damaged one",
        "check it with fsck, or format it",
    ),
    errno.ENOTBLK: _NO_DEVICE,
    errno.ENOENT: _NO_DEVICE,
    errno.ENXIO: _NO_DEVICE,
    errno.EACCES: _READ_ONLY_DEVICE,
    errno.EROFS: _READ_ONLY_DEVICE,
}
_ESCAPED = re.compile(r"\\([0-7]{3})")


def mount(device: Path, target: Path, filesystem: str, *, writable: bool) -> None:
    """Mount `device` at the folder `target`, creating it, with noexec, nodev and nosuid.

    An existing mount there is covered. Mounting ext4 read-only replays its journal, which writes to
    the device unless that is read-only. Raises UnsupportedError when the kernel does not support
    the file system, HostError with a hint otherwise.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MountFailedError(f"cannot create {target}: {error.strerror}") from error
    flags = _SAFE | (0 if writable else _READ_ONLY)
    code = _mount(device, target, filesystem, flags, _OPTIONS.get(filesystem, ""))
    if code:
        raise _mount_error(device, target, filesystem, code)


def remount(target: Path, *, writable: bool) -> None:
    """Remount `target` writable, or read-only after all writes; raises HostError.

    It fails to become read-only while a file is open for writing.
    """
    flags = _REMOUNT | _SAFE | (0 if writable else _READ_ONLY)
    if code := _mount(Path("none"), target, "", flags, ""):
        what = "writable" if writable else "read-only"
        if code == errno.EBUSY:
            raise MountFailedError(
                f"cannot remount {target} {what}: files on it are open for writing",
                hint="stop the programs that write to it",
            )
        raise _system_error(f"cannot remount {target} {what}", code)


def unmount(target: Path) -> None:
    """Unmount `target` after all writes.

    A mount in use is detached, and unmounted when its last user is gone. Raises HostError when
    nothing is mounted there, OutputError when writing failed.
    """
    code = _unmount(target, _NO_FOLLOW)
    if code == errno.EBUSY:
        code = _unmount(target, _NO_FOLLOW | _DETACH)
    if code in (errno.EINVAL, errno.ENOENT):
        raise MountFailedError(f"nothing is mounted at {target}")
    if code == errno.EIO:
        raise OutputError(f"{target}: I/O error while unmounting")
    if code:
        raise _system_error(f"cannot unmount {target}", code)


def mounted_at(target: Path, mounts: Path = _MOUNTS) -> Path | None:
    """Return the device of the topmost mount at `target`, None without a mount."""
    wanted = os.path.realpath(target)
    return next((device for place, device in _mounted(mounts)[::-1] if place == wanted), None)


def places_of(device: Path, mounts: Path = _MOUNTS) -> tuple[Path, ...]:
    """Return the mount points of `device`, oldest first."""
    wanted = os.path.realpath(device)
    found = _mounted(mounts)
    return tuple(Path(place) for place, other in found if os.path.realpath(other) == wanted)


def _mounted(mounts: Path) -> list[tuple[str, Path]]:
    try:
        text = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise MountFailedError(
            f"cannot read {mounts}: {error.strerror}", hint="mount proc at /proc"
        ) from error
    return list(_parsed(text))


def _parsed(text: str) -> Iterator[tuple[str, Path]]:
    """Yield (mount point, device) of each mount: field 5, and the second field after the hyphen."""
    for line in text.split("\n"):
        before, hyphen, after = line.partition(" - ")
        if hyphen:
            yield _unescaped(before.split(" ")[4]), Path(_unescaped(after.split(" ")[1]))


def _unescaped(text: str) -> str:
    """Decode the octal escapes in a field of mountinfo: space, tab, line feed and backslash."""
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
    problem = f"cannot mount {device} at {target} as {filesystem}"
    if code == errno.ENODEV:
        return UnsupportedError(
            f"{problem}: this kernel does not support {filesystem}",
            hint=f"load the kernel's module for it (`modprobe {filesystem}`)",
        )
    if code in _PROBLEMS:
        more, hint = _PROBLEMS[code]
        return MountFailedError(f"{problem}{more}", hint=hint)
    return _system_error(problem, code)


def _system_error(problem: str, code: int) -> HostError:
    hint = "run it as root" if code in (errno.EPERM, errno.EACCES) else ""
    return MountFailedError(f"{problem}: {os.strerror(code)}", hint=hint)
