"""Mounts a machine's cache volumes when devices appear, and unmounts them when they vanish."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imager.node.blkid import ProbedVolume
from imager.node.devices import list_devices
from imager.node.mounting import mount, mounted_at, remount, unmount
from imager.node.provision import make_volume, plan_volume
from imager.node.resize import grow_disk, grow_volume
from imager.node.systemdisk import find_system_disk
from imager.node.volumes import (
    CacheVolume,
    Role,
    disk_volumes,
    iso_volumes,
    without_media,
)
from imager.support.blockdevices import BlockDevice
from imager.support.errors import HostError, ImagerError, UnsupportedError
from imager.support.reporter import Reporter
from imager.support.units import format_size
from imager.talos.config.document import MachineConfig
from imager.talos.constants import CACHE_FOLDER


@dataclass(frozen=True, slots=True)
class Node:
    """A machine's configuration, and the folder for mounts of its volumes.

    Nothing else may be mounted in that folder. Only the disks in `disks` are used; empty means all.
    """

    config: MachineConfig
    mounts: Path
    disks: tuple[Path, ...] = ()

    def devices(self) -> tuple[BlockDevice, ...]:
        """Return the disks to use, and their partitions."""
        return tuple(
            each
            for each in list_devices()
            if not self.disks or (each.parent or each.path) in self.disks
        )


class AttachedVolumes:
    """The mounted volumes; a problem with one device is reported and does not affect the others."""

    def __init__(self, node: Node, reporter: Reporter) -> None:
        self._node = node
        self._reporter = reporter
        self._devices: tuple[BlockDevice, ...] | None = None
        self._changed = time.monotonic()
        self._volumes: tuple[CacheVolume, ...] = ()
        self._problems: dict[Path, str] = {}

    @property
    def disk(self) -> CacheVolume | None:
        """The machine's own volume, if there is one."""
        return next((each for each in self._volumes if each.role is Role.DISK), None)

    @property
    def media(self) -> tuple[CacheVolume, ...]:
        """The media with a cache, in order of appearance."""
        return tuple(each for each in self._volumes if each.role is Role.ISO)

    @property
    def by_root(self) -> Mapping[Path, CacheVolume]:
        """The volumes by their roots, in search order.

        The disk is first, then the media, the latest first.
        """
        ordered = (self.disk, *reversed(self.media))
        return {each.root: each for each in ordered if each is not None}

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems of the devices present."""
        return tuple(self._problems.values())

    @property
    def quiet(self) -> float:
        """The seconds since a device last appeared or vanished."""
        return time.monotonic() - self._changed

    def look(self) -> bool:
        """Update the mounts to the devices present; return whether anything has changed."""
        devices = self._node.devices()
        if self._devices is None:
            self._clear()
        if devices == self._devices:
            return False
        self._devices, self._changed, self._problems = devices, time.monotonic(), {}
        there = {_place(each) for each in devices}
        for volume in self._volumes:
            if _place(volume.device) not in there:
                self._reporter.step("image cache gone", device=str(volume.device.path))
                self._detach(volume)
        if self.disk is None:
            self._attach_disk(devices)
        self._attach_media(devices)
        return True

    @property
    def can_make_disk(self) -> bool:
        """Whether the configuration has a volume for the machine's disk."""
        return self._node.config.volume is not None

    def make_disk(self) -> CacheVolume:
        """Create the machine's own volume as configured, and mount it.

        Raises HostError when none is configured, and as `plan_volume`, `make_volume` and `mount`.
        """
        config = self._node.config
        devices = without_media(self._node.devices(), (each.volume for each in self.media))
        if config.volume is None:
            raise HostError("the machine configuration has no VolumeConfig IMAGECACHE")
        plan = plan_volume(config.volume, devices, find_system_disk(devices, config))
        self._reporter.step(
            "creating the volume IMAGECACHE", disk=str(plan.disk.path), size=format_size(plan.size)
        )
        made = make_volume(plan)
        self._devices = self._node.devices()
        return self._mount_disk(ProbedVolume(made, "ext4", made.partition_label))

    @contextmanager
    def writable(self, volume: CacheVolume) -> Iterator[Path]:
        """Yield the folder of `volume`, which is writable inside the block."""
        remount(volume.root, writable=True)
        try:
            yield volume.root
        finally:
            remount(volume.root, writable=False)

    def release(self) -> None:
        """Unmount all volumes."""
        for volume in self._volumes:
            self._detach(volume)

    def _clear(self) -> None:
        """Unmount volumes, perhaps writable ones, that a killed run has left."""
        for place in self._node.mounts.glob("*"):
            while mounted_at(place) is not None:
                unmount(place)

    def _attach_disk(self, devices: tuple[BlockDevice, ...]) -> None:
        for found in disk_volumes(devices):
            with self._telling(found.device):
                self._grow(found.device, devices)
            with self._telling(found.device):
                self._mount_disk(found)
                return

    def _grow(self, device: BlockDevice, devices: tuple[BlockDevice, ...]) -> None:
        """Grow the partition table, and if configured the volume, to the size of the disk."""
        disk = next(each for each in devices if each.path == device.parent)
        gained = grow_disk(disk)
        if gained:
            self._reporter.step(
                "partition table grown to the end of the disk",
                disk=str(disk.path),
                gained=format_size(gained),
            )
        settings = self._node.config.volume
        if settings is not None and settings.grow:
            grow_volume(device, settings)

    def _mount_disk(self, volume: ProbedVolume) -> CacheVolume:
        place = self._node.mounts / Role.DISK.value
        mount(volume.device.path, place, "ext4", writable=False)
        found = CacheVolume(Role.DISK, volume, place)
        self._attach(found)
        return found

    def _attach_media(self, devices: tuple[BlockDevice, ...]) -> None:
        known = {each.device.path for each in self._volumes}
        for found in iso_volumes(devices):
            if found.device.path not in known:
                with self._telling(found.device):
                    self._mount_medium(found)

    def _mount_medium(self, volume: ProbedVolume) -> None:
        place = self._free_mount(volume.device)
        try:
            mount(volume.device.path, place, volume.filesystem, writable=False)
        except UnsupportedError:
            self._attach(CacheVolume(Role.ISO, volume, None))
            return
        found = CacheVolume(Role.ISO, volume, place)
        if found.root.is_dir():
            self._attach(found)
            return
        unmount(place)
        self._tell(volume.device, f"the volume {volume.label} has no folder {CACHE_FOLDER}/")

    def _free_mount(self, device: BlockDevice) -> Path:
        first = self._node.mounts / Role.ISO.value
        taken = {each.mount for each in self._volumes}
        return first if first not in taken else first.with_name(f"iso-{device.path.name}")

    def _attach(self, volume: CacheVolume) -> None:
        self._volumes = (*self._volumes, volume)
        self._reporter.step(
            "image cache found", device=str(volume.device.path), root=str(volume.root)
        )

    def _detach(self, volume: CacheVolume) -> None:
        if volume.mount is not None:
            with suppress(ImagerError):
                unmount(volume.mount)
        self._volumes = tuple(each for each in self._volumes if each is not volume)

    @contextmanager
    def _telling(self, device: BlockDevice) -> Iterator[None]:
        try:
            yield
        except ImagerError as error:
            self._tell(device, error.message)

    def _tell(self, device: BlockDevice, problem: str) -> None:
        self._problems[device.path] = f"{device.path}: {problem}"
        self._reporter.warn(self._problems[device.path])


def _place(device: BlockDevice) -> tuple[Path, int, int]:
    """Return the identity of a device: constant when a partition grows, changed with the disk."""
    return device.path, device.start, device.sequence
