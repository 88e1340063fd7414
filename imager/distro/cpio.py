"""Write a cpio archive in the "newc" format, as the kernel unpacks it for an initramfs.

Specification: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Everything is
owned by root, inode numbers count from 1, and all times are one instant, so the same entries give
the same bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_MAGIC = "070701"
_ALIGNMENT = 4
_LARGEST_FIELD = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class CpioEntry:
    """One entry: `mode` has the file type too, `data` is the contents or the link's target.

    `device` is (major, minor) of a character device node.
    """

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(path: str) -> CpioEntry:
    """Return a folder that all may read."""
    return CpioEntry(path, stat.S_IFDIR | 0o755)


def file(path: str, data: bytes, *, mode: int = 0o644) -> CpioEntry:
    """Return a file with the permissions `mode`."""
    return CpioEntry(path, stat.S_IFREG | mode, data)


def symlink(path: str, target: str) -> CpioEntry:
    """Return a symbolic link to `target`."""
    return CpioEntry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int) -> CpioEntry:
    """Return a character device node that root alone may use."""
    return CpioEntry(path, stat.S_IFCHR | 0o600, device=(major, minor))


def cpio_archive(entries: Iterable[CpioEntry], *, epoch: int) -> bytes:
    """Return the archive of `entries`, in their order, all modified at `epoch` (seconds, UTC).

    A folder must stand before what is in it: the kernel makes none by itself. Raises ValueError
    for a path that is empty, absolute, has `..` or comes twice, and for a folder that is missing.
    """
    archive = bytearray()
    folders = {""}
    seen: set[str] = set()
    for inode, entry in enumerate(entries, start=1):
        parent = entry.path.rpartition("/")[0]
        if parent not in folders or entry.path in seen or not _is_plain(entry.path):
            raise ValueError(f"{entry.path!r} cannot stand here in a cpio archive")
        seen.add(entry.path)
        if stat.S_ISDIR(entry.mode):
            folders.add(entry.path)
        archive += _record(entry, inode=inode, epoch=epoch)
    archive += _record(CpioEntry("TRAILER!!!", 0), inode=0, epoch=0)
    return bytes(archive)


def _is_plain(path: str) -> bool:
    return "\0" not in path and all(part not in {"", ".", ".."} for part in path.split("/"))


def _record(entry: CpioEntry, *, inode: int, epoch: int) -> bytes:
    name = entry.path.encode() + b"\0"
    fields = (
        inode,
        entry.mode,
        0,  # uid
        0,  # gid
        2 if stat.S_ISDIR(entry.mode) else 1,
        epoch,
        len(entry.data),
        0,  # major of the archive's own device
        0,  # minor
        *entry.device,
        len(name),
        0,  # checksum: used by the crc format alone
    )
    if max(fields) > _LARGEST_FIELD or min(fields) < 0:
        raise ValueError(f"{entry.path!r} does not fit into a cpio header")
    header = _MAGIC + "".join(f"{field:08x}" for field in fields)
    return _padded(header.encode() + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
