"""The block devices of a running Linux, from sysfs and without udev.

https://docs.kernel.org/admin-guide/abi-stable.html (/sys/block, /sys/class/block, /sys/dev/block).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from imager.support.units import format_size

SYS = Path("/sys")
DEV = Path("/dev")
# The unit of sizes and starts in sysfs, independent of a disk's own sector size.
SYSFS_SECTOR = 512
_NO_DISKS = ("ram", "zram", "fd", "dm-")
_LABEL = re.compile(r"^PARTNAME=(.*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A disk, or a partition of the disk `parent` that begins at byte `start` of it.

    `size` and `sector_size` are bytes. A disk has neither parent nor number. `sequence` changes
    with another disk, or another medium in the drive (0 before Linux 5.15). `model` is what a disk
    calls itself.
    """

    path: Path
    size: int
    sector_size: int = 512
    parent: Path | None = None
    number: int | None = None
    partition_label: str = ""
    read_only: bool = False
    start: int = 0
    sequence: int = 0
    model: str = ""

    @property
    def is_disk(self) -> bool:
        """Whether this is a whole disk."""
        return self.parent is None

    @property
    def described(self) -> str:
        """The device for messages: path, model and size."""
        return f"{self.path} ({self.model or 'unknown model'}, {format_size(self.size)})"


def block_devices(sys: Path = SYS, dev: Path = DEV) -> list[BlockDevice]:
    """Return the disks and partitions with a size.

    Skips RAM disks, floppies, mapped devices, and devices that vanish meanwhile. A partition that
    was added by BLKPG has no label.
    """
    devices = (
        _read_device(folder, _device_path(folder.name, dev), dev)
        for folder in folder_entries(sys / "class" / "block")
        if _is_listed(folder)
    )
    return [each for each in devices if each.size]


def block_device(path: Path) -> BlockDevice | None:
    """Return the device of the device file `path`; None if sysfs does not have it.

    Raises OSError if there is no such file.
    """
    number = path.stat().st_rdev
    folder = SYS / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}"
    return _read_device(folder, path, DEV) if folder.exists() else None


def folder_entries(folder: Path) -> list[Path]:
    """Return what is in a folder of sysfs, sorted; empty when it is missing."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def read_text(path: Path) -> str:
    """Read a file of sysfs; empty when it cannot be read, such as after the disk was removed."""
    try:
        return path.read_bytes().decode(errors="replace").strip("\0 \t\n")
    except OSError:
        return ""


def read_number(path: Path) -> int | None:
    """Read a number from a file of sysfs; None when it has none."""
    text = read_text(path)
    return int(text) if text.isascii() and text.isdigit() else None


def resolved(path: Path) -> Path:
    """Follow the links of `path`, which may vanish meanwhile."""
    try:
        return path.resolve()
    except OSError:
        return path


def _is_listed(folder: Path) -> bool:
    names = (folder.name, _disk_folder(folder).name)
    is_disk = all(name.rstrip("0123456789") not in _NO_DISKS for name in names)
    return is_disk and read_text(folder / "hidden") != "1"


def _disk_folder(folder: Path) -> Path:
    """Return the folder of the disk that the device of `folder` is, or is on."""
    place = resolved(folder)
    return place if read_number(folder / "partition") is None else place.parent


def _device_path(name: str, dev: Path) -> Path:
    return dev / name.replace("!", "/")


def _read_device(folder: Path, path: Path, dev: Path) -> BlockDevice:
    number = read_number(folder / "partition")
    disk = _disk_folder(folder)
    label = _LABEL.search(read_text(folder / "uevent"))
    return BlockDevice(
        path,
        (read_number(folder / "size") or 0) * SYSFS_SECTOR,
        read_number(disk / "queue" / "logical_block_size") or SYSFS_SECTOR,
        None if number is None else _device_path(disk.name, dev),
        number,
        label[1] if number is not None and label else "",
        "1" in (read_text(folder / "ro"), read_text(disk / "ro")),
        (read_number(folder / "start") or 0) * SYSFS_SECTOR,
        read_number(disk / "diskseq") or 0,
        read_text(folder / "device" / "model"),
    )
