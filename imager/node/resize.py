"""Grows the partition table of an enlarged disk, and the volume on it."""

from __future__ import annotations

import struct
from pathlib import Path

from imager.content.reading import read_start
from imager.formats.ext4.groups import read_ext4_size
from imager.formats.gpt.edit import write_table
from imager.formats.gpt.read import read_table
from imager.node.blkpg import add_partition, resize_partition
from imager.node.devices import find_device, list_devices
from imager.node.errors import UnusableDiskError
from imager.support.blockdevices import BlockDevice
from imager.support.errors import DependencyError
from imager.support.tools import run_tool
from imager.support.units import MIB
from imager.talos.config.volumes import VolumeSettings

_BLOCK = 4096
_HEAD = 2048
# A last block group of fewer bytes would hold only metadata, and resize2fs skips it.
_LEFT = MIB


def grow_disk(disk: BlockDevice) -> int:
    """Make the whole disk usable, and repair both copies of its partition table.

    Returns the number of bytes gained. Adds partitions to the kernel that it did not find, as it
    does not read the backup table. Raises InputError when neither copy is valid, OutputError when
    writing fails, HostError.
    """
    table = read_table(disk.path, disk.sector_size)
    if not table.problem:
        return 0
    write_table(table, disk.path)
    known = {each.number for each in list_devices() if each.parent == disk.path}
    for number, part in table.partitions.items():
        if number not in known:
            add_partition(disk, number, start=part.offset, size=part.size)
    return table.gained


def grow_volume(device: BlockDevice, settings: VolumeSettings) -> BlockDevice:
    """Grow the partition into the free space right behind it, if configured; return it.

    It must not be mounted. It grows to `max_size` at most; then its ext4 is checked and resized. An
    interrupted resize is completed by the next call. Raises HostError, InputError, OutputError, and
    DependencyError for e2fsck and resize2fs.
    """
    if not settings.grow:
        return device
    disk = find_device(device.parent) if device.parent else None
    if disk is None or device.number is None:
        raise UnusableDiskError(f"{device.path} is not a partition of an attached disk")
    grow_disk(disk)
    table = read_table(disk.path, disk.sector_size)
    entry = table.partitions[device.number]
    limit = settings.max_size.of_disk(disk.size) // _BLOCK * _BLOCK
    size = max(entry.size, min(limit, entry.size + table.free_behind(device.number).size))
    if size > entry.size:
        write_table(table.with_size(device.number, size), disk.path)
    if size > device.size:
        resize_partition(disk, device.number, start=device.start, size=size)
    if size - _filled(device.path) >= _LEFT:
        _check(device.path)
        run_tool(["resize2fs", device.path], package="e2fsprogs")
    return find_device(device.path) or device


def _filled(path: Path) -> int:
    """Return the size in bytes of the ext4 on a partition."""
    try:
        return read_ext4_size(read_start(path, _HEAD))
    except struct.error as error:
        raise UnusableDiskError(f"cannot read {path}: {error}") from error


def _check(path: Path) -> None:
    argv: list[str | Path] = ["e2fsck", "-f", "-p", path]
    try:
        run_tool(argv, package="e2fsprogs")
    except DependencyError:  # e2fsck also exits non-zero after repairing everything
        run_tool(argv, package="e2fsprogs")
