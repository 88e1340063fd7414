"""The disks and partitions of this machine, with labels, and as selectors see them.

The description of a disk has the fields of Talos's resource Disks.block.talos.dev, so that
selectors have the same meaning.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from imager.formats.gpt.entries import Partition
from imager.formats.gpt.read import read_numbered
from imager.support.blockdevices import (
    DEV,
    SYS,
    SYSFS_SECTOR,
    BlockDevice,
    block_devices,
    folder_entries,
    read_number,
    read_text,
    resolved,
)
from imager.support.descriptors import opened
from imager.support.errors import HostError
from imager.talos.config.disk import Disk

_BY_NAME = {"nvme": "nvme", "vd": "virtio", "mmcblk": "mmc"}
_HOST_CLASSES = {"sas_host": "sas", "fc_host": "fc", "iscsi_host": "iscsi"}
_SCSI_CD = "5"
_PREFIXES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def list_devices(sys: Path = SYS, dev: Path = DEV) -> tuple[BlockDevice, ...]:
    """Return the disks and partitions with a size, sorted by path.

    As `block_devices`; a label that the kernel does not have is read from the table.
    """
    devices = block_devices(sys, dev)
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
        with opened(device.path, os.O_RDONLY | os.O_EXCL):
            return False
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        hint = "run it as root" if error.errno == errno.EACCES else ""
        raise HostError(f"cannot open {device.path}: {error.strerror}", hint=hint) from error


def describe_disk(device: BlockDevice, sys: Path = SYS, dev: Path = DEV) -> Disk:
    """Return the disk `device` as selectors see it; fields that sysfs lacks are empty."""
    name = _sysfs_name(device.path, dev)
    folder = sys / "class" / "block" / name
    place = resolved(folder)
    under = sys.resolve() / "devices"
    bus = place.parent.parent.relative_to(under) if place.is_relative_to(under) else None
    return Disk(
        dev_path=str(device.path),
        size=device.size,
        pretty_size=pretty_size(device.size),
        io_size=_io_size(folder),
        sector_size=device.sector_size,
        readonly=device.read_only,
        cdrom=name.startswith("sr") or read_text(folder / "device" / "type") == _SCSI_CD,
        model=device.model,
        serial=read_text(folder / "device" / "serial") or read_text(folder / "serial"),
        modalias=read_text(folder / "device" / "modalias"),
        wwid=read_text(folder / "wwid") or read_text(folder / "device" / "wwid"),
        bus_path=f"/{bus}" if bus else "",
        sub_system="/sys/class/block" if place.exists() else "",
        transport=_transport(name, folder, sys),
        rotational=read_text(folder / "queue" / "rotational") == "1",
        secondary_disks=tuple(each.name for each in folder_entries(folder / "slaves")),
        symlinks=_symlinks(device.path, dev),
    )


def pretty_size(size: int) -> str:
    """Format `size` bytes as Go's humanize.Bytes does: `6.4 GB`, `10 GB`."""
    if size < 10:
        return f"{size} B"
    power = min(int(math.log(size, 1000)), len(_PREFIXES) - 1)
    value = math.floor(size / 1000**power * 10 + 0.5) / 10
    return f"{value:.{1 if value < 10 else 0}f} {_PREFIXES[power]}"


def _sysfs_name(path: Path, dev: Path) -> str:
    return str(path.relative_to(dev)).replace("/", "!")


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
        size = read_number(folder / "queue" / name) or 0
        if size.bit_count() == 1:
            return size
    return SYSFS_SECTOR


def _transport(name: str, folder: Path, sys: Path) -> str:
    """Return how a disk is attached, by the rules of Talos's go-blockdevice."""
    for prefix, transport in _BY_NAME.items():
        if name.startswith(prefix):
            return transport
    device = resolved(folder / "device")
    host, colon, _ = device.name.partition(":")
    if not colon or not host.isdigit():
        return ""
    for class_, transport in _HOST_CLASSES.items():
        if (sys / "class" / class_ / f"host{host}").is_dir():
            return transport
    if "usb" in str(device):
        return "usb"
    driver = read_text(sys / "class" / "scsi_host" / f"host{host}" / "proc_name")
    if driver in ("ahci", "sata"):
        return "sata"
    return "ata" if "ata" in driver else "virtio" if driver == "virtio_scsi" else ""


def _symlinks(path: Path, dev: Path) -> tuple[str, ...]:
    """Return the links in /dev/disk to the device, if something such as udev creates them."""
    links = (link for folder in folder_entries(dev / "disk") for link in folder_entries(folder))
    target = resolved(path)
    return tuple(str(link) for link in links if resolved(link) == target)
