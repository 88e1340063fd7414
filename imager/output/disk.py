"""The raw disk: a GPT with the bootloader's partitions, META, and with a cache IMAGECACHE.

IMAGECACHE takes all that the others leave. Before Talos 1.8 STATE and EPHEMERAL are there, of
which the latter takes the rest. Partitions start and end at multiples of 1 MiB; the backup GPT
takes the disk's last sectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imager.bootassets.meta import meta_content
from imager.bootloader.boot import DiskBoot, PlannedPartition
from imager.bootloader.bootloaders import boot_planner
from imager.errors import InputError, UnsupportedError
from imager.extents import Content
from imager.filetree import TreeFile
from imager.imagecache.cache import ImageCache
from imager.media.ext4 import minimum_ext4_size, plan_ext4
from imager.media.gpt import LINUX_DATA, Partition, backup_size, plan_gpt
from imager.output.plan import OutputPlan, Region, RegionKind, Target
from imager.profile.quirks import quirks
from imager.repro import derived_uuid
from imager.units import MIB, align_up, format_size

_META = "META"
_STATE, _STATE_SIZE = "STATE", 100 * MIB
_EPHEMERAL = "EPHEMERAL"
_CACHE = "IMAGECACHE"
_DISK = "talos-image-disk"


def plan_disk_output(target: Target) -> OutputPlan:
    """Return the plan of the disk image.

    Without a size of the user's it is the smallest that works, a multiple of 1 MiB and never
    under Talos's minimum. Raises InputError for a size that does not work, naming the parts and
    the smallest that does, and other ImagerErrors for inputs that cannot be on a disk.
    """
    _check_cache(target)
    boot_target = target.boot(disk=True)
    boot = boot_planner(target.bootloader, boot_target).disk(boot_target, MIB)
    fixed = [*boot.partitions, *_fixed_partitions(target, boot.partitions[-1].end)]
    minimum = _minimum(target, fixed[-1].end)
    size = minimum if target.disk_size is None else target.disk_size
    _check_size(target, fixed, size=size, minimum=minimum)
    partitions = [*fixed, *_last_partition(target, fixed[-1].end, size)]
    return _assemble(target, partitions, boot, size=size, minimum=minimum)


def _check_cache(target: Target) -> None:
    if target.cache and quirks(target.version).data_partitions:
        raise UnsupportedError(
            f"Talos {target.version.text} has no image cache on its disk: EPHEMERAL takes the rest",
            hint="build for --talos-version v1.9.0 or later, or leave --image-cache out",
        )


def _fixed_partitions(target: Target, offset: int) -> Iterator[PlannedPartition]:
    """Yield what stands behind the boot partitions, and has a size of its own."""
    content = meta_content(target.meta) if target.meta else Content(MIB)
    meta = PlannedPartition(_META, LINUX_DATA, offset, content, "raw")
    yield meta
    if quirks(target.version).data_partitions:
        yield PlannedPartition(_STATE, LINUX_DATA, meta.end, Content(_STATE_SIZE), "empty")


def _last_partition(target: Target, offset: int, disk_size: int) -> list[PlannedPartition]:
    """Return the partition that takes the rest of the disk, if there is one."""
    size = (disk_size - backup_size(target.sector_size) - offset) // MIB * MIB
    if quirks(target.version).data_partitions:
        return [PlannedPartition(_EPHEMERAL, LINUX_DATA, offset, Content(size), "empty")]
    if target.cache:
        return [_cache_partition(target, target.cache, offset, size)]
    return []


def _cache_files(cache: ImageCache) -> list[TreeFile]:
    return [TreeFile(file.path, file.content) for file in cache.files]


def _minimum(target: Target, offset: int) -> int:
    """Return the size of the smallest disk whose last partition begins at `offset`."""
    rules = quirks(target.version)
    needed = offset + backup_size(target.sector_size)
    if rules.data_partitions:
        needed += MIB
    if target.cache:
        needed += minimum_ext4_size(
            _cache_files(target.cache), scratch=target.scratch, granularity=MIB
        )
    return max(align_up(needed, MIB), rules.minimum_disk_size)


def _check_size(
    target: Target, partitions: Sequence[PlannedPartition], *, size: int, minimum: int
) -> None:
    sector = target.sector_size
    if size % sector:
        raise InputError(
            f"--image-disk-size {size} is not a multiple of the sector size, {sector} bytes",
            hint=f"use {size // sector * sector} or {align_up(size, MIB) // MIB}MiB",
        )
    if size >= minimum:
        return
    parts = [f"{part.label} {format_size(part.content.size)}" for part in partitions]
    if target.cache:
        parts.append(f"image cache {format_size(target.cache.size)}")
    raise InputError(
        f"a disk of {format_size(size)} is too small: {', '.join(parts)}, "
        "and what the partition table and file systems take",
        hint=f"the smallest that works is --image-disk-size={minimum // MIB}MiB",
    )


def _cache_partition(target: Target, cache: ImageCache, offset: int, size: int) -> PlannedPartition:
    volume = plan_ext4(
        _cache_files(cache),
        size=size,
        label=_CACHE,
        uuid=derived_uuid(_CACHE),
        timestamp=target.timestamp,
        scratch=target.scratch,
    )
    return PlannedPartition(_CACHE, LINUX_DATA, offset, volume.content, "ext4", volume.files)


def _assemble(
    target: Target,
    partitions: Sequence[PlannedPartition],
    boot: DiskBoot,
    *,
    size: int,
    minimum: int,
) -> OutputPlan:
    entries = [
        Partition(
            part.label,
            part.type_guid,
            derived_uuid(part.label),
            part.offset,
            part.content.size,
            part.attributes,
        )
        for part in partitions
    ]
    gpt = plan_gpt(
        entries,
        disk_size=size,
        disk_guid=derived_uuid(_DISK),
        sector_size=target.sector_size,
        boot_code=boot.boot_code,
    )
    placed = [(0, gpt.primary), *((part.offset, part.content) for part in partitions)]
    content = Content.compose(size, [*placed, (gpt.backup_offset, gpt.backup)])
    regions = [
        Region(RegionKind.TABLE, "GPT", 0, gpt.primary.size),
        *(region for part in partitions for region in _regions(part)),
        Region(RegionKind.TABLE, "GPT backup", gpt.backup_offset, gpt.backup.size),
    ]
    return OutputPlan(
        f"{target.stem}.raw", content, tuple(regions), minimum, (boot.how, *boot.notes)
    )


def _regions(part: PlannedPartition) -> Iterator[Region]:
    """Yield the lines of the plan's table for a partition and the files in it."""
    yield Region(RegionKind.PARTITION, part.label, part.offset, part.content.size, part.format_name)
    for file in part.files:
        offset = part.offset + file.offset
        yield Region(RegionKind.FILE, f"{part.label}/{file.path}", offset, file.length)
