"""The raw disk: a GPT with EFI, META and, with a cache, IMAGECACHE, in this order.

IMAGECACHE takes all that the others leave. Partitions start and end at multiples of 1 MiB; the
backup GPT takes the last 17 KiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imager.bootassets.meta import meta_content
from imager.errors import InputError
from imager.extents import Content
from imager.filetree import TreeFile
from imager.imagecache.cache import ImageCache
from imager.media.ext4 import minimum_ext4_size, plan_ext4
from imager.media.gpt import ESP, LINUX_DATA, Partition, backup_size, plan_gpt
from imager.output.esp import LABEL, esp_files, plan_esp
from imager.output.plan import OutputPlan, Region, RegionKind, Target
from imager.profile.version import quirks
from imager.repro import derived_uuid
from imager.units import MIB, align_up, format_size

_META = "META"
_CACHE = "IMAGECACHE"
_DISK = "talos-image-disk"
_SECTOR = 512
_ONLY_SD_BOOT = "boots by UEFI with systemd-boot; BIOS boot is not supported yet"


@dataclass(frozen=True, slots=True)
class _Slot:
    """A partition and its content; all sizes in bytes."""

    label: str
    offset: int
    content: Content
    type_name: str
    files: tuple[Region, ...] = ()


def plan_disk_output(target: Target) -> OutputPlan:
    """Return the plan of the disk image.

    Without a size of the user's it is the smallest that works, a multiple of 1 MiB and never
    under Talos's minimum. Raises InputError for a size that does not work, naming the parts and
    the smallest that does, and other ImagerErrors for inputs that cannot be on a disk.
    """
    rules = quirks(target.version)
    efi_offset, meta_offset = MIB, MIB + rules.efi_size
    cache_offset = meta_offset + MIB
    minimum = _minimum(target, cache_offset, rules.minimum_disk_size)
    size = minimum if target.disk_size is None else target.disk_size
    _check_size(target, size=size, minimum=minimum, boot=rules.efi_size)
    slots = [_esp_slot(target, efi_offset, rules.efi_size), _meta_slot(target, meta_offset)]
    if target.cache:
        slots.append(_cache_slot(target, target.cache, cache_offset, size))
    return _assemble(target, slots, size=size, minimum=minimum)


def _cache_files(cache: ImageCache) -> list[TreeFile]:
    return [TreeFile(file.path, file.content) for file in cache.files]


def _minimum(target: Target, cache_offset: int, talos_minimum: int) -> int:
    needed = cache_offset + backup_size()
    if target.cache:
        needed += minimum_ext4_size(
            _cache_files(target.cache), scratch=target.scratch, granularity=MIB
        )
    return max(align_up(needed, MIB), talos_minimum)


def _check_size(target: Target, *, size: int, minimum: int, boot: int) -> None:
    if size % _SECTOR:
        raise InputError(
            f"--image-disk-size {size} is not a multiple of the sector size, {_SECTOR} bytes",
            hint=f"use {size // _SECTOR * _SECTOR} or {align_up(size, MIB) // MIB}MiB",
        )
    if size >= minimum:
        return
    cache = f", image cache {format_size(target.cache.size)}" if target.cache else ""
    raise InputError(
        f"a disk of {format_size(size)} is too small: EFI {format_size(boot)}, META 1 MiB{cache}, "
        "and what the partition table and file system take",
        hint=f"the smallest that works is --image-disk-size={minimum // MIB}MiB",
    )


def _esp_slot(target: Target, offset: int, size: int) -> _Slot:
    files = esp_files(target, target.cmdline(iso=False))
    esp = plan_esp(target, files, size=size, offset=offset)
    regions = tuple(
        Region(RegionKind.FILE, f"{LABEL}/{file.path}", offset + file.offset, file.length)
        for file in esp.files
    )
    return _Slot(LABEL, offset, esp.content, "FAT32", regions)


def _meta_slot(target: Target, offset: int) -> _Slot:
    content = meta_content(target.meta) if target.meta else Content(MIB)
    return _Slot(_META, offset, content, "raw")


def _cache_slot(target: Target, cache: ImageCache, offset: int, disk_size: int) -> _Slot:
    size = (disk_size - backup_size() - offset) // MIB * MIB
    volume = plan_ext4(
        _cache_files(cache),
        size=size,
        label=_CACHE,
        uuid=derived_uuid(_CACHE),
        timestamp=target.timestamp,
        scratch=target.scratch,
    )
    regions = tuple(
        Region(RegionKind.FILE, f"{_CACHE}/{file.path}", offset + file.offset, file.length)
        for file in volume.files
    )
    return _Slot(_CACHE, offset, volume.content, "ext4", regions)


def _assemble(target: Target, slots: Sequence[_Slot], *, size: int, minimum: int) -> OutputPlan:
    partitions = [
        Partition(
            slot.label,
            ESP if slot.label == LABEL else LINUX_DATA,
            derived_uuid(slot.label),
            slot.offset,
            slot.content.size,
        )
        for slot in slots
    ]
    gpt = plan_gpt(partitions, disk_size=size, disk_guid=derived_uuid(_DISK))
    placed = [(0, gpt.primary), *((slot.offset, slot.content) for slot in slots)]
    content = Content.compose(size, [*placed, (gpt.backup_offset, gpt.backup)])
    regions = [Region(RegionKind.TABLE, "GPT", 0, gpt.primary.size)]
    for slot in slots:
        regions.append(
            Region(RegionKind.PARTITION, slot.label, slot.offset, slot.content.size, slot.type_name)
        )
        regions.extend(slot.files)
    regions.append(Region(RegionKind.TABLE, "GPT backup", gpt.backup_offset, gpt.backup.size))
    notes = (_ONLY_SD_BOOT,)
    return OutputPlan(f"{target.stem}.raw", content, tuple(regions), minimum, notes)
