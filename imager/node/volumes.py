"""The volumes that may contain an image cache, and their mount points.

They are the same as Talos's: the partition labelled IMAGECACHE, and iso9660 or vfat volumes with a
label starting with TALOS_ and a folder imagecache/.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.node.blkid import ProbedVolume, probe
from imager.support.blockdevices import BlockDevice
from imager.talos.constants import CACHE_FOLDER, IMAGE_CACHE

ISO_PREFIX = "TALOS_"
ISO_FILESYSTEMS = ("iso9660", "vfat")


class Role(enum.Enum):
    """The role of a volume: the machine's own on its disk, or a medium with a cache."""

    DISK = "disk"
    ISO = "iso"


@dataclass(frozen=True, slots=True)
class CacheVolume:
    """A volume with its role and mount point.

    Without a mount point it is read in place, as the kernel does not support its file system.
    """

    role: Role
    volume: ProbedVolume
    mount: Path | None

    @property
    def device(self) -> BlockDevice:
        """The device of the volume."""
        return self.volume.device

    @property
    def root(self) -> Path:
        """The folder of the cache's tree, or the device that contains it."""
        if self.mount is None:
            return self.device.path
        return self.mount if self.role is Role.DISK else self.mount / CACHE_FOLDER


def cache_partitions(devices: Iterable[BlockDevice]) -> list[BlockDevice]:
    """Return the partitions with the label of the image cache."""
    return [each for each in devices if each.partition_label == IMAGE_CACHE]


def disk_volumes(devices: Iterable[BlockDevice]) -> Iterator[ProbedVolume]:
    """Yield the volumes on the partitions of the image cache, with any file system."""
    for device in cache_partitions(devices):
        yield probe(device) or ProbedVolume(device, "", "")


def without_media(
    devices: Iterable[BlockDevice], media: Iterable[ProbedVolume]
) -> tuple[BlockDevice, ...]:
    """Return `devices` without the disks of `media`, on which no volume is created."""
    disks = {each.device.parent or each.device.path for each in media}
    return tuple(each for each in devices if not {each.path, each.parent} & disks)


def iso_volumes(devices: Sequence[BlockDevice]) -> Iterator[ProbedVolume]:
    """Yield the volumes that may, by their labels, be media with a cache.

    Skips the partitions of an ISO written to a disk, as they are parts of it.
    """
    whole = set()
    for device in sorted(devices, key=lambda each: each.parent is not None):
        if device.parent in whole or device.partition_label == IMAGE_CACHE:
            continue
        volume = probe(device)
        if volume is None or volume.filesystem not in ISO_FILESYSTEMS:
            continue
        if volume.filesystem == "iso9660":
            whole.add(device.path)
        if volume.label.startswith(ISO_PREFIX):
            yield volume
