"""Write an image straight to a disk: only its data, by the plan, and read it back.

Stale bytes must not show through the holes of an image, so these ranges are zeroed; most devices
do that without writing (BLKZEROOUT of linux/fs.h). A GPT that an earlier, larger image left at the
end of the disk is removed, since firmware and tools may take it for the current one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from imager.content.checked import write_checked
from imager.content.copier import write_errors
from imager.content.digests import Check
from imager.content.extents import Content
from imager.content.ranges import data_ranges, gaps
from imager.content.reading import iterate_content
from imager.image.errors import UnsuitableDeviceError
from imager.support.blockdevices import SYS, BlockDevice, block_device
from imager.support.errors import OutputError
from imager.support.reporter import Advance
from imager.support.units import MIB, format_size

_BLKFLSBUF, _BLKZEROOUT = 0x1261, 0x127F
# What may hold the backup of an old partition table.
_TAIL = MIB


def find_device(path: Path, *, size: int, sector_size: int | None) -> BlockDevice:
    """Return the disk `path` if an image of `size` bytes can be written to it.

    `sector_size` is that of the image in bytes; None if it suits every disk. Raises
    UnsuitableDeviceError for what is not a whole disk, is in use, write-protected or too small.
    """
    with _opened(_disk(path), os.O_RDONLY):
        # Opening a drive makes the kernel look at the medium in it.
        device = _disk(path)
    if device.read_only:
        raise UnsuitableDeviceError(f"{path} is write-protected")
    if device.size < size:
        raise UnsuitableDeviceError(
            f"{device.described} is too small for an image of {format_size(size)}"
        )
    if sector_size not in (None, device.sector_size):
        raise UnsuitableDeviceError(
            f"{path} has sectors of {device.sector_size} bytes, the image has {sector_size}",
            hint="build metal-4k for sectors of 4096 bytes, metal for those of 512",
        )
    return device


def write_device(
    content: Content,
    descriptor: int,
    device: BlockDevice,
    *,
    checks: Sequence[Check],
    progress: Advance,
) -> None:
    """Write `content` to the disk of `descriptor`, flush it, read it back and compare.

    The `checks` run during the write. `progress` is called with the number of extent bytes written
    since the last call. Raises InputError if a check fails, UnsuitableDeviceError if the disk is in
    use by now, OutputError if writing fails or if the disk returns other bytes than were written.
    """
    with write_errors():
        for gap in gaps(data_ranges(content), content.size):
            _zero(descriptor, gap, device.sector_size)
        if device.size > content.size:
            tail = range(max(content.size, device.size - _TAIL), device.size)
            _zero(descriptor, tail, device.sector_size)
        write_checked(content, descriptor, checks, progress=progress)
        os.fsync(descriptor)
        # Otherwise reading would return what the kernel remembers.
        fcntl.ioctl(descriptor, _BLKFLSBUF, 0)
        _compare(content, descriptor, device.path)


def open_device(device: BlockDevice) -> AbstractContextManager[int]:
    """Open a disk to write to it, for this process alone; raises UnsuitableDeviceError."""
    return _opened(device, os.O_RDWR)


def _disk(path: Path) -> BlockDevice:
    try:
        if not stat.S_ISBLK(path.stat().st_mode):
            raise UnsuitableDeviceError(
                f"--output-device {path} is not a disk", hint="to write to a file, use --output"
            )
        device = block_device(path)
    except OSError as error:
        raise UnsuitableDeviceError(f"cannot open {path}: {error.strerror}") from error
    if device is None:
        raise UnsuitableDeviceError(
            f"{path} is not in {SYS}", hint=f"mount sysfs at {SYS}, or name a disk that exists"
        )
    if not device.is_disk:
        raise UnsuitableDeviceError(
            f"--output-device {path} is a partition", hint="name the whole disk"
        )
    return device


@contextmanager
def _opened(device: BlockDevice, access: int) -> Iterator[int]:
    """Open a whole disk for this process alone.

    The kernel refuses O_EXCL for a disk that is mounted or used by swap, LVM, RAID or encryption,
    itself or one of its partitions, in any container.
    """
    path = device.path
    try:
        descriptor = os.open(path, access | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise UnsuitableDeviceError(
                f"{path} is in use: it or one of its partitions is mounted, or belongs to swap,"
                " LVM, RAID or encryption",
                hint=f"`lsblk {path}` shows what uses it; choose another disk, or release it",
            ) from error
        raise UnsuitableDeviceError(f"cannot open {path}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _zero(descriptor: int, span: range, sector: int) -> None:
    """Zero the bytes `span`; the device zeroes the whole sectors, the rest is written."""
    first = min(-(-span.start // sector) * sector, span.stop)
    last = max(span.stop // sector * sector, first)
    os.pwrite(descriptor, bytes(first - span.start), span.start)
    if last > first:
        fcntl.ioctl(descriptor, _BLKZEROOUT, struct.pack("=QQ", first, last - first))
    os.pwrite(descriptor, bytes(span.stop - last), last)


def _compare(content: Content, descriptor: int, path: Path) -> None:
    """Raise OutputError if the disk does not return `content`; holes are taken as zeroed."""
    position = 0
    for piece in iterate_content(content):
        if isinstance(piece, int):
            position += piece
            continue
        if os.pread(descriptor, len(piece), position) != piece:
            raise OutputError(
                f"{path} returns other bytes than were written, between byte {position} and"
                f" {position + len(piece)}",
                hint="the disk or its connection is faulty, or larger on the label than inside:"
                " use another one",
            )
        position += len(piece)
