"""Creates the volume IMAGECACHE of a VolumeConfig: a partition and its ext4 file system.

The partition table is written last. Before that only the kernel knows the partition, by BLKPG, and
the file system is created in free space. An interruption therefore leaves the table unchanged, a
partition labelled IMAGECACHE always has its file system, and old bytes on the disk need not be
interpreted.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.formats.gpt.edit import protective_mbr, write_empty_table, write_table
from imager.formats.gpt.entries import LINUX_DATA, Partition
from imager.formats.gpt.read import read_table
from imager.formats.gpt.table import Range, Table, backup_size, first_usable
from imager.node.blkid import is_blank, probe
from imager.node.blkpg import add_partition, kernel_path, remove_partition
from imager.node.devices import describe_disk, find_device, is_in_use
from imager.node.errors import UnusableDiskError
from imager.node.resize import grow_disk
from imager.support.blockdevices import BlockDevice
from imager.support.descriptors import opened
from imager.support.errors import (
    HostError,
    ImagerError,
    InputError,
    OutputError,
    UnsupportedError,
    joined,
)
from imager.support.repro import derived_uuid
from imager.support.tools import run_tool
from imager.support.units import MIB, align_up, format_size
from imager.talos.config.disk import Disk
from imager.talos.config.volumes import VolumeSettings
from imager.talos.constants import IMAGE_CACHE

_BLOCK = 4096
_WAIT = 10.0
_PAUSE = 0.05
# With resize_inode, the file system can grow and remains a plain ext4.
_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)
# The kernel clears inode tables after the first mount, so that creating a large volume is quick.
_EXTENDED = "root_owner=0:0,lazy_itable_init=1,lazy_journal_init=0"
_BYTES_PER_INODE = 64 << 10


@dataclass(frozen=True, slots=True)
class VolumePlacement:
    """The location of the existing or planned volume: `size` bytes at byte `start` of `disk`.

    `is_there` means that the partition `number` exists, `is_blank` that the disk has no table yet.
    """

    disk: BlockDevice
    number: int
    start: int
    size: int
    is_there: bool = False
    is_blank: bool = False


def plan_volume(
    settings: VolumeSettings, devices: Sequence[BlockDevice], system_disk: BlockDevice | None
) -> VolumePlacement:
    """Plan the volume on `devices`, without writing anything.

    A partition IMAGECACHE on any disk is used as the volume. Otherwise the volume is placed on the
    first disk that matches the selector and has room: in the largest free range, up to `max_size`.
    Raises HostError with the reason for each disk, UnsupportedError for encryption, ExpressionError
    for a selector that cannot be evaluated.
    """
    if settings.encrypted:
        raise UnsupportedError(
            f"`encryption` is set for {IMAGE_CACHE}, but imager cannot encrypt volumes",
            hint="remove `encryption` from the VolumeConfig: only Talos can encrypt the volume",
        )
    disks = [device for device in devices if device.is_disk]
    there = _existing(devices, disks)
    if there is not None:
        return there
    system = system_disk.path if system_disk else None
    described = [describe_disk(disk) for disk in disks]
    selected = settings.selector.matches(described, system_disk=str(system or ""))
    failures: list[ImagerError] = []
    for disk, description, matches in zip(disks, described, selected, strict=True):
        if matches:
            try:
                return _plan_on(disk, settings, is_cdrom=description.cdrom)
            except (HostError, InputError, OutputError) as error:
                failures.append(error)
    if not failures:
        raise _no_match(settings, described, system)
    raise joined(failures, what="disks")


def make_volume(plan: VolumePlacement) -> BlockDevice:
    """Create the planned volume on the disk and in the kernel; return the ext4 partition.

    An existing partition is formatted only if it is blank. After an interruption, the next plan
    starts over. Raises HostError, OutputError when writing fails, DependencyError for mkfs.ext4.
    """
    disk = plan.disk
    if plan.is_there:
        if not kernel_path(disk.path, plan.number).exists():
            grow_disk(disk)
        return _with_file_system(_appeared(disk, plan.number))
    if plan.is_blank:
        if is_in_use(disk) or not _is_free(disk):
            raise UnusableDiskError(
                f"{disk.path} is no longer blank, or is in use",
                hint="select another disk, or try again",
            )
        write_empty_table(disk.path, guid=uuid.uuid4(), sector_size=disk.sector_size)
    else:
        grow_disk(disk)
    add_partition(disk, plan.number, start=plan.start, size=plan.size)
    try:
        path = _appeared(disk, plan.number).path
        _format(path)
        _write_entry(plan)
    except BaseException:
        remove_partition(disk, plan.number)
        raise
    return _found(path)


def _existing(
    devices: Sequence[BlockDevice], disks: Sequence[BlockDevice]
) -> VolumePlacement | None:
    by_path = {disk.path: disk for disk in disks}
    for device in devices:
        disk = by_path.get(device.parent) if device.parent else None
        if device.partition_label == IMAGE_CACHE and disk is not None and device.number:
            return VolumePlacement(disk, device.number, device.start, device.size, is_there=True)
    return None


def _no_match(
    settings: VolumeSettings, disks: Iterable[Disk], system_disk: Path | None
) -> HostError:
    there = "; ".join(
        f"{disk.dev_path} ({disk.pretty_size}, {disk.transport or 'transport unknown'})"
        for disk in disks
    )
    no_system = "" if system_disk else "; the system disk is unknown"
    return UnusableDiskError(
        f"no disk matches `{settings.selector.text}`: disks: {there or 'none'}{no_system}",
        hint="change `provisioning.diskSelector.match` of the VolumeConfig IMAGECACHE",
    )


def _plan_on(disk: BlockDevice, settings: VolumeSettings, *, is_cdrom: bool) -> VolumePlacement:
    if is_cdrom:
        raise UnusableDiskError(f"{disk.path} is a CD drive")
    if disk.read_only:
        raise UnusableDiskError(f"{disk.path} is read-only", hint="turn off its write protection")
    if _is_free(disk):
        start = align_up(first_usable(disk.sector_size), MIB)
        end = (disk.size - backup_size(disk.sector_size)) // MIB * MIB
        free = Range(start, max(start, end))
        return VolumePlacement(disk, 1, start, _size(disk, settings, free), is_blank=True)
    table = _foreign_table(disk)
    for number, part in table.partitions.items():
        if part.label == IMAGE_CACHE:  # unknown to the kernel
            return VolumePlacement(disk, number, part.offset, part.size, is_there=True)
    ranges = table.free_ranges() or (Range(0, 0),)
    free = max(ranges, key=lambda each: each.size)
    size = _size(disk, settings, free)
    try:
        return VolumePlacement(disk, table.free_number(), free.start, size)
    except ValueError as error:
        raise UnusableDiskError(f"{disk.path}: {error}", hint="delete a partition") from error


def _is_free(disk: BlockDevice) -> bool:
    """Return whether the disk is blank, except for a protective MBR of `write_empty_table`."""
    try:
        mbr = protective_mbr(disk.size, disk.sector_size)
    except ValueError:
        return False
    return is_blank(disk, beside=mbr)


def _foreign_table(disk: BlockDevice) -> Table:
    """Return the existing table of a disk in use; raises HostError when it has none."""
    volume = probe(disk)
    if volume is not None:
        label = f" {volume.label!a}" if volume.label else ""
        raise UnusableDiskError(
            f"{disk.path} has the {volume.filesystem} file system{label}, which is not overwritten",
            hint="select another disk, or wipe it if nothing on it is needed",
        )
    try:
        return read_table(disk.path, disk.sector_size)
    except InputError as error:
        raise UnusableDiskError(
            f"{disk.path} is not blank and is not overwritten: {error.message}", hint=error.hint
        ) from error


def _size(disk: BlockDevice, settings: VolumeSettings, free: Range) -> int:
    """Return the size of the volume; raises HostError when the range is too small."""
    if free.size < settings.min_size:
        raise UnusableDiskError(
            f"{disk.path} has {format_size(free.size)} free, {IMAGE_CACHE} needs at least "
            f"{format_size(settings.min_size)}: it is too small by "
            f"{format_size(settings.min_size - free.size)}",
            hint="lower `provisioning.minSize`, free some space, or select another disk",
        )
    limit = settings.max_size.of_disk(disk.size)
    if limit < settings.min_size:
        raise InputError(
            f"{disk.path}: maxSize ({settings.max_size}) is {format_size(limit)} on this disk, "
            f"less than minSize ({format_size(settings.min_size)})",
            hint="raise `provisioning.maxSize`",
        )
    return min(align_up(limit, _BLOCK), free.size)


def _write_entry(plan: VolumePlacement) -> None:
    disk = plan.disk
    entry = Partition(IMAGE_CACHE, LINUX_DATA, derived_uuid(IMAGE_CACHE), plan.start, plan.size)
    try:
        table = read_table(disk.path, disk.sector_size).with_new(plan.number, entry)
    except ValueError as error:
        raise UnusableDiskError(
            f"{disk.path}: its partition table has changed: {error}", hint="run it again"
        ) from error
    write_table(table, disk.path)


def _with_file_system(device: BlockDevice) -> BlockDevice:
    volume = probe(device)
    if volume is None and is_blank(device):
        _format(device.path)
    elif volume is None or volume.filesystem != "ext4":
        holds = f"a {volume.filesystem} file system" if volume else "unknown data"
        raise UnusableDiskError(
            f"{device.path} is labelled {IMAGE_CACHE} but has {holds}, which is not overwritten",
            hint="wipe its first and last MiB if nothing on it is needed",
        )
    return device


def _format(path: Path) -> None:
    """Create the file system and flush it; mkfs.ext4 refuses a device that is in use."""
    run_tool(
        [
            *("mkfs.ext4", "-q", "-b", str(_BLOCK), "-I", "256", "-i", str(_BYTES_PER_INODE)),
            *("-m", "0", "-O", _FEATURES, "-E", _EXTENDED, "-L", IMAGE_CACHE, path),
        ],
        package="e2fsprogs",
    )
    with opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


def _appeared(disk: BlockDevice, number: int) -> BlockDevice:
    """Wait for the device node of a new partition, which user space may have to create."""
    path = kernel_path(disk.path, number)
    deadline = time.monotonic() + _WAIT
    while not path.exists():
        if time.monotonic() > deadline:
            raise UnusableDiskError(
                f"{path} did not appear, although the kernel knows the partition",
                hint="mount devtmpfs at /dev",
            )
        time.sleep(_PAUSE)
    return _found(path)


def _found(path: Path) -> BlockDevice:
    device = find_device(path)
    if device is None:
        raise UnusableDiskError(
            f"{path} has disappeared", hint="check that its disk is still attached"
        )
    return device
