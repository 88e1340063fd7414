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
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imager.content.copier import write_errors, write_extents
from imager.content.extents import Content
from imager.content.ranges import data_ranges, gaps
from imager.content.reading import iterate_content
from imager.image.errors import UnsuitableDeviceError
from imager.support.errors import OutputError
from imager.support.reporter import Advance
from imager.support.units import MIB, format_size

_BLKROGET, _BLKFLSBUF, _BLKSSZGET, _BLKZEROOUT = 0x125E, 0x1261, 0x1268, 0x127F
# What may hold the backup of an old partition table.
_TAIL = MIB


@dataclass(frozen=True, slots=True)
class Device:
    """A disk: its path, its size in bytes, its sector size in bytes and what it calls itself."""

    path: Path
    size: int
    sector_size: int
    model: str

    @property
    def described(self) -> str:
        """The device for messages: path, model and size."""
        return f"{self.path} ({self.model or 'unknown model'}, {format_size(self.size)})"


def find_device(path: Path, *, size: int, sector_size: int | None) -> Device:
    """Return the disk `path` if an image of `size` bytes can be written to it.

    `sector_size` is that of the image in bytes; None if it suits every disk. Raises
    UnsuitableDeviceError for what is not a whole disk, is in use, write-protected or too small.
    """
    with _opened(path, os.O_RDONLY) as descriptor:
        if _number(descriptor, _BLKROGET):
            raise UnsuitableDeviceError(f"{path} is write-protected")
        device = Device(
            path,
            os.lseek(descriptor, 0, os.SEEK_END),
            _number(descriptor, _BLKSSZGET),
            _model(os.fstat(descriptor).st_rdev),
        )
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


def write_device(content: Content, descriptor: int, device: Device, *, progress: Advance) -> None:
    """Write `content` to the disk of `descriptor`, flush it, read it back and compare.

    `progress` is called with the number of extent bytes written since the last call. Raises
    UnsuitableDeviceError if the disk is in use by now, OutputError if writing fails or if the disk
    returns other bytes than were written.
    """
    with write_errors():
        for gap in gaps(data_ranges(content), content.size):
            _zero(descriptor, gap)
        if device.size > content.size:
            _zero(descriptor, range(max(content.size, device.size - _TAIL), device.size))
        write_extents(content, descriptor, progress=progress)
        os.fsync(descriptor)
        # Otherwise reading would return what the kernel remembers.
        fcntl.ioctl(descriptor, _BLKFLSBUF, 0)
        _compare(content, descriptor, device.path)


def open_device(path: Path) -> AbstractContextManager[int]:
    """Open a disk to write to it, for this process alone; raises UnsuitableDeviceError."""
    return _opened(path, os.O_RDWR)


@contextmanager
def _opened(path: Path, access: int) -> Iterator[int]:
    """Open a whole disk for this process alone.

    The kernel refuses O_EXCL for a disk that is mounted or used by swap, LVM, RAID or encryption,
    itself or one of its partitions, in any container.
    """
    try:
        if not stat.S_ISBLK(path.stat().st_mode):
            raise UnsuitableDeviceError(
                f"--output-device {path} is not a disk", hint="to write to a file, use --output"
            )
        if _is_partition(path.stat().st_rdev):
            raise UnsuitableDeviceError(
                f"--output-device {path} is a partition", hint="name the whole disk"
            )
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


def _sysfs(device: int) -> Path:
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")


def _is_partition(device: int) -> bool:
    return (_sysfs(device) / "partition").exists()


def _model(device: int) -> str:
    try:
        return (_sysfs(device) / "device/model").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _number(descriptor: int, request: int) -> int:
    answer = fcntl.ioctl(descriptor, request, bytes(4))
    return int(struct.unpack("=i", answer)[0])


def _zero(descriptor: int, span: range) -> None:
    """Zero the bytes `span`; the device zeroes the whole sectors, the rest is written."""
    sector = _number(descriptor, _BLKSSZGET)
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
