"""Checks the volumes of a machine that contain, or should contain, an image cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from imager.cache.open import open_cache
from imager.cache.verify import verify_cache
from imager.node.blkid import ProbedVolume, probe
from imager.node.diagnosis import Finding
from imager.node.mounting import mount, places_of, unmount
from imager.node.volumes import (
    ISO_FILESYSTEMS,
    ISO_PREFIX,
    cache_partitions,
    iso_volumes,
)
from imager.support.blockdevices import BlockDevice
from imager.support.errors import ImagerError, InputError, UnsupportedError
from imager.support.partials import scratch_folder
from imager.support.reporter import Reporter
from imager.support.units import format_size
from imager.talos.constants import CACHE_FOLDER, IMAGE_CACHE

_FROM_MEDIUM = "insert the ISO or stick: the cache is copied from it"
_MEDIUM_AGAIN = "write the medium again; check its ISO with `imager images cache-verify`"
_NO_CACHE = "build it with --image-cache"


def label_findings(devices: Sequence[BlockDevice]) -> list[Finding]:
    """Return the problems of volume labels; if there are none, report when no volume exists."""
    found = [*_partition_labels(devices), *_volume_labels(devices)]
    if found or cache_partitions(devices) or list(iso_volumes(devices)):
        return found
    there = [f"{each.path} ({format_size(each.size)})" for each in devices if each.is_disk]
    disks = ", ".join(there) or "none"
    return [
        Finding(
            "no volume with an image cache: no partition labelled IMAGECACHE, and no iso9660 or "
            f"vfat volume whose label starts with {ISO_PREFIX}; disks: {disks}",
            "boot from the ISO or stick that `imager iso --image-cache` made, or insert it; a "
            "disk missing from this list has no driver",
        )
    ]


def disk_volume(devices: Iterable[BlockDevice]) -> ProbedVolume | None:
    """Return the first volume IMAGECACHE with a file system of its own."""
    volumes = map(probe, cache_partitions(devices))
    return next((each for each in volumes if each and each.filesystem == "ext4"), None)


def content_findings(volume: ProbedVolume, reporter: Reporter) -> list[Finding]:
    """Return the problems of the cache in a volume: blobs, manifests, or a missing cache."""
    path = volume.device.path
    again = _MEDIUM_AGAIN if _is_medium(volume) else _FROM_MEDIUM
    try:
        with opened_root(volume) as root:
            if root.is_dir() and not (root / "manifests").is_dir():
                what = f"{path}: the volume {volume.label} contains no images"
                return [Finding(what, _NO_CACHE if _is_medium(volume) else _FROM_MEDIUM)]
            found = verify_cache(lambda fail: open_cache(root, fail=fail), reporter=reporter)
            return [Finding(f"{path}: {problem}", again) for problem in found.problems]
    except ImagerError as error:
        return [Finding(f"{path}: {error.message}", error.hint or again)]


@contextmanager
def opened_root(volume: ProbedVolume) -> Iterator[Path]:
    """Yield the root of a volume's cache, mounting the volume for the block if necessary.

    Yields the device itself when the kernel does not support its file system. Raises InputError for
    a medium without imagecache/, else as `mount`.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(_mounted(volume))
        except UnsupportedError:
            yield volume.device.path
            return
        root = folder / CACHE_FOLDER if _is_medium(volume) else folder
        if not root.is_dir():
            raise InputError(
                f"the volume {volume.label} has no folder {CACHE_FOLDER}/", hint=_NO_CACHE
            )
        yield root


@contextmanager
def _mounted(volume: ProbedVolume) -> Iterator[Path]:
    places = places_of(volume.device.path)
    if places:
        yield places[0]
        return
    with scratch_folder() as scratch:
        mount(volume.device.path, scratch / "volume", volume.filesystem, writable=False)
        try:
            yield scratch / "volume"
        finally:
            unmount(scratch / "volume")


def _is_medium(volume: ProbedVolume) -> bool:
    return volume.filesystem in ISO_FILESYSTEMS


def _partition_labels(devices: Iterable[BlockDevice]) -> Iterator[Finding]:
    for device in devices:
        label = device.partition_label
        if label == IMAGE_CACHE and disk_volume([device]) is None:
            yield Finding(
                f"{device.path}: the partition {IMAGE_CACHE} has no ext4 file system",
                "write the disk image again, or remove the partition and boot from the ISO with a "
                "VolumeConfig, which creates it again",
            )
        elif label != IMAGE_CACHE and label.upper() == IMAGE_CACHE:
            yield Finding(
                f"{device.path}: the partition has the label {label!r}, not {IMAGE_CACHE!r}",
                f"change it: sgdisk --change-name={device.number}:{IMAGE_CACHE} {device.parent}",
            )


def _volume_labels(devices: Iterable[BlockDevice]) -> Iterator[Finding]:
    for volume in map(probe, devices):
        if volume is None or not _is_medium(volume):
            continue
        label, path = volume.label, volume.device.path
        if label.startswith(ISO_PREFIX):
            continue
        if label.upper().startswith(ISO_PREFIX) or _has_cache(volume):
            yield Finding(
                f"{path}: the volume has the label {label!r}, which must start with {ISO_PREFIX} "
                "in capitals",
                f"change it: fatlabel {path} TALOS_1"
                if volume.filesystem == "vfat"
                else "write the ISO to the medium with dd",
            )


def _has_cache(volume: ProbedVolume) -> bool:
    try:
        with opened_root(volume) as root:
            return root.is_dir() or bool(open_cache(root).cache.files)
    except ImagerError:
        return False
