"""The disks and partitions of a running Linux, from sysfs and without udev.

https://docs.kernel.org/admin-guide/abi-stable.html (/sys/block, /sys/class/block). The description
of a disk has the fields of Talos's resource Disks.block.talos.dev, so that selectors have the same
meaning.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from imager.formats.gpt.entries import Partition
from imager.formats.gpt.read import read_numbered
from imager.support.errors import HostError
from imager.talos.config.disk import Disk

SYS = Path("/sys")
DEV = Path("/dev")
# The unit of sizes and starts in sysfs, independent of a disk's own sector size.
_SYSFS_SECTOR = 512
_NO_DISKS = ("ram", "zram", "fd", "dm-")
_BY_NAME = {"nvme": "nvme", "vd": "virtio", "mmcblk": "mmc"}
_HOST_CLASSES = {"sas_host": "sas", "fc_host": "fc", "iscsi_host": "iscsi"}
_SCSI_CD = "5"
_LABEL = re.compile(r"^PARTNAME=(.*)", re.MULTILINE)
_PREFIXES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A disk, or a partition of the disk `parent` that begins at byte `start` of it.

    `size` and `sector_size` are bytes. A disk has neither parent nor number. `sequence` changes
    with another disk, or another medium in the drive (0 before Linux 5.15).
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

    @property
    def is_disk(self) -> bool:
        """Whether this is a whole disk."""
        return self.parent is None


def list_devices(sys: Path = SYS, dev: Path = DEV) -> tuple[BlockDevice, ...]:
    """Return the disks and partitions with a size, sorted by path.

    Skips RAM disks, floppies, mapped devices, and devices that vanish meanwhile. The kernel has no
    label for a partition added by BLKPG; its label is read from the table.
    """
    found = (_read_device(folder, dev) for folder in _folders(sys / "class" / "block"))
    devices = [each for each in found if each is not None]
    disks = {each.path: each for each in devices if each.is_disk}
    table_of = cache(lambda disk: read_numbered(disk.path, disk.sector_size))
    labelled = (_labelled(each, disks, table_of) for each in devices)
    return tuple(sorted(labelled, key=lambda device: device.path))


def find_device(path: Path) -> BlockDevice | None:
    """Return the disk or partition `path`; None when it does not exist."""
    return next((each for each in list_devices() if each.path == path), None)


def is_in_use(device: BlockDevice) -> bool:
    """Return whether the kernel has claimed `device`: as a mount, RAID, volume or swap.

    A disk is in use while one of its partitions is. Raises HostError when it cannot be opened.
    """
    try:
        os.close(os.open(device.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        hint = "run it as root" if error.errno == errno.EACCES else ""
        raise HostError(f"cannot open {device.path}: {error.strerror}", hint=hint) from error
    return False


def describe_disk(device: BlockDevice, sys: Path = SYS, dev: Path = DEV) -> Disk:
    """Return the disk `device` as selectors see it; fields that sysfs lacks are empty."""
    name = _sysfs_name(device.path, dev)
    folder = sys / "class" / "block" / name
    place = _resolved(folder)
    under = sys.resolve() / "devices"
    bus = place.parent.parent.relative_to(under) if place.is_relative_to(under) else None
    return Disk(
        dev_path=str(device.path),
        size=device.size,
        pretty_size=pretty_size(device.size),
        io_size=_io_size(folder),
        sector_size=device.sector_size,
        readonly=device.read_only,
        cdrom=name.startswith("sr") or _text(folder / "device" / "type") == _SCSI_CD,
        model=_text(folder / "device" / "model"),
        serial=_text(folder / "device" / "serial") or _text(folder / "serial"),
        modalias=_text(folder / "device" / "modalias"),
        wwid=_text(folder / "wwid") or _text(folder / "device" / "wwid"),
        bus_path=f"/{bus}" if bus else "",
        sub_system="/sys/class/block" if place.exists() else "",
        transport=_transport(name, folder, sys),
        rotational=_text(folder / "queue" / "rotational") == "1",
        secondary_disks=tuple(each.name for each in _folders(folder / "slaves")),
        symlinks=_symlinks(device.path, dev),
    )


def pretty_size(size: int) -> str:
    """Format `size` bytes as Go's humanize.Bytes does: `6.4 GB`, `10 GB`."""
    if size < 10:
        return f"{size} B"
    power = min(int(math.log(size, 1000)), len(_PREFIXES) - 1)
    value = math.floor(size / 1000**power * 10 + 0.5) / 10
    return f"{value:.{1 if value < 10 else 0}f} {_PREFIXES[power]}"


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    """Read a file of sysfs; empty when it cannot be read, such as after the disk was removed."""
    try:
        return path.read_bytes().decode(errors="replace").strip("\0 \t\n")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isascii() and text.isdigit() else None


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except OSError:
        return path


def _device_path(name: str, dev: Path) -> Path:
    return dev / name.replace("!", "/")


def _sysfs_name(path: Path, dev: Path) -> str:
    return str(path.relative_to(dev)).replace("/", "!")


def _read_device(folder: Path, dev: Path) -> BlockDevice | None:
    name = folder.name
    sectors = _number(folder / "size")
    if not sectors or name.rstrip("0123456789") in _NO_DISKS or _text(folder / "hidden") == "1":
        return None
    number = _number(folder / "partition")
    place = _resolved(folder)
    label = _LABEL.search(_text(folder / "uevent"))
    disk = place if number is None else place.parent
    if disk.name.rstrip("0123456789") in _NO_DISKS:
        return None
    return BlockDevice(
        _device_path(name, dev),
        sectors * _SYSFS_SECTOR,
        _number(disk / "queue" / "logical_block_size") or _SYSFS_SECTOR,
        None if number is None else _device_path(disk.name, dev),
        number,
        label[1] if number is not None and label else "",
        "1" in (_text(folder / "ro"), _text(disk / "ro")),
        (_number(folder / "start") or 0) * _SYSFS_SECTOR,
        _number(disk / "diskseq") or 0,
    )


def _labelled(
    device: BlockDevice,
    disks: Mapping[Path, BlockDevice],
    table_of: Callable[[BlockDevice], Mapping[int, Partition]],
) -> BlockDevice:
    """Return `device` with the label from its disk's table, unless the kernel has one."""
    disk = disks.get(device.parent) if device.parent else None
    if disk is None or device.number is None or device.partition_label:
        return device
    entry = table_of(disk).get(device.number)
    if entry is None or entry.offset != device.start:
        return device
    return replace(device, partition_label=entry.label)


def _io_size(folder: Path) -> int:
    for name in ("optimal_io_size", "minimum_io_size"):
        size = _number(folder / "queue" / name) or 0
        if size.bit_count() == 1:
            return size
    return _SYSFS_SECTOR


def _transport(name: str, folder: Path, sys: Path) -> str:
    """Return how a disk is attached, by the rules of Talos's go-blockdevice."""
    for prefix, transport in _BY_NAME.items():
        if name.startswith(prefix):
            return transport
    device = _resolved(folder / "device")
    host, colon, _ = device.name.partition(":")
    if not colon or not host.isdigit():
        return ""
    for class_, transport in _HOST_CLASSES.items():
        if (sys / "class" / class_ / f"host{host}").is_dir():
            return transport
    if "usb" in str(device):
        return "usb"
    driver = _text(sys / "class" / "scsi_host" / f"host{host}" / "proc_name")
    if driver in ("ahci", "sata"):
        return "sata"
    return "ata" if "ata" in driver else "virtio" if driver == "virtio_scsi" else ""


def _symlinks(path: Path, dev: Path) -> tuple[str, ...]:
    """Return the links in /dev/disk to the device, if something such as udev creates them."""
    links = (link for folder in _folders(dev / "disk") for link in _folders(folder))
    target = _resolved(path)
    return tuple(str(link) for link in links if _resolved(link) == target)
