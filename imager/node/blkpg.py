"""Updates single partitions in the kernel while others of the same disk are in use.

BLKPG of linux/blkpg.h; re-reading the whole table (BLKRRPART) fails if any partition is mounted.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

from imager.node.errors import UnusableDiskError
from imager.support.blockdevices import BlockDevice
from imager.support.descriptors import opened

_BLKPG = 0x1269
_ADD, _REMOVE, _RESIZE = 1, 2, 3


# struct blkpg_partition: start, length, number, and two names that the kernel ignores.
_PARTITION = struct.Struct("@qqi64s64s0q")
# struct blkpg_ioctl_arg: operation, flags, length of the data, its address.
_ARGUMENT = struct.Struct("@iiiP")


def add_partition(disk: BlockDevice, number: int, *, start: int, size: int) -> None:
    """Add a partition to the kernel, even before the table has it; `start` and `size` in bytes.

    Replaces a partition that the kernel knows by this number, unless it is in use. Raises
    HostError.
    """
    code = _call(disk, _ADD, number, start, size)
    if code == errno.EBUSY:
        remove_partition(disk, number)
        code = _call(disk, _ADD, number, start, size)
    _check(code, f"{disk.path}: the kernel rejected partition {number}")


def remove_partition(disk: BlockDevice, number: int) -> None:
    """Remove a partition from the kernel, if it exists; raises HostError when it is in use."""
    code = _call(disk, _REMOVE, number, 0, 0)
    if code != errno.ENXIO:
        _check(code, f"{disk.path}: the kernel did not remove partition {number}")


def resize_partition(disk: BlockDevice, number: int, *, start: int, size: int) -> None:
    """Set the size of a partition in the kernel, in bytes, even if in use; raises HostError."""
    code = _call(disk, _RESIZE, number, start, size)
    _check(code, f"{disk.path}: the kernel rejected the new size of partition {number}")


def _check(code: int, problem: str) -> None:
    if not code:
        return
    hint = {
        errno.EPERM: "run it as root",
        errno.EACCES: "run it as root",
        errno.EBUSY: "it is in use: unmount it, or reboot",
    }.get(code, "reboot, so that the kernel reads the partition table again")
    raise UnusableDiskError(f"{problem}: {os.strerror(code)}", hint=hint)


def _call(disk: BlockDevice, operation: int, number: int, start: int, size: int) -> int:
    partition = ctypes.create_string_buffer(_PARTITION.pack(start, size, number, b"", b""))
    address = ctypes.addressof(partition)
    try:
        with opened(disk.path, os.O_RDONLY) as descriptor:
            fcntl.ioctl(descriptor, _BLKPG, _ARGUMENT.pack(operation, 0, _PARTITION.size, address))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def kernel_path(disk: Path, number: int) -> Path:
    """Return the kernel's path of a partition; a `p` separates the number from a digit."""
    separator = "p" if disk.name[-1:].isdigit() else ""
    return disk.with_name(f"{disk.name}{separator}{number}")
