"""The volumes that may carry an image cache, and where they are mounted.

As Talos finds them: the partition labelled IMAGECACHE, and iso9660 or vfat volumes whose label
starts with TALOS_ and that have a folder imagecache/.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.node.blkid import ProbedVolume, probe
from imager.node.devices import BlockDevice
from imager.talos.constants import CACHE_FOLDER, IMAGE_CACHE

ISO_PREFIX = "TALOS_"
ISO_FILESYSTEMS = ("iso9660", "vfat")


class Role(enum.Enum):
    """What a volume is for: the machine's own on its disk, or a medium that brings a cache."""

    DISK = "disk"
    ISO = "iso"


@dataclass(frozen=True, slots=True)
class CacheVolume:
    """A volume of a role, and the folder that it is mounted at.

    Without one it is read in place, since the kernel does not know its file system.
    """

    role: Role
    volume: ProbedVolume
    mount: Path | None

    @property
    def device(self) -> BlockDevice:
        """The device that it is on."""
        return self.volume.device

    @property
    def root(self) -> Path:
        """The folder of the cache's tree, or the device that it is in."""
        if self.mount is None:
            return self.device.path
        return self.mount if self.role is Role.DISK else self.mount / CACHE_FOLDER


def cache_partitions(devices: Iterable[BlockDevice]) -> list[BlockDevice]:
    """Return the partitions that are by their label the image cache's."""
    return [each for each in devices if each.partition_label == IMAGE_CACHE]


def disk_volumes(devices: Iterable[BlockDevice]) -> Iterator[ProbedVolume]:
    """Yield the volumes on the partitions of the image cache, whatever their file systems."""
    for device in cache_partitions(devices):
        yield probe(device) or ProbedVolume(device, "", "")


def without_media(
    devices: Iterable[BlockDevice], media: Iterable[ProbedVolume]
) -> tuple[BlockDevice, ...]:
    """Return `devices` without the disks that `media` are on: no volume is made there."""
    disks = {each.device.parent or each.device.path for each in media}
    return tuple(each for each in devices if not {each.path, each.parent} & disks)


def iso_volumes(devices: Sequence[BlockDevice]) -> Iterator[ProbedVolume]:
    """Yield the volumes that may, by their labels, be media with a cache.

    The partitions of an ISO that was written to a disk are not looked at: they are parts of it.
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
