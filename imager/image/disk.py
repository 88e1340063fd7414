"""The raw disk: a GPT with the bootloader's partitions, META, and with a cache IMAGECACHE.

With `--image-disk-size`, IMAGECACHE takes the space that the other partitions leave. Without it,
the disk has the platform's size, or more if the cache needs it; since Talos 1.13 IMAGECACHE is a
fifth larger than the cache, so that a node can copy a newer one there. Before Talos 1.8 the disk
has STATE and EPHEMERAL, and EPHEMERAL takes the remaining space.

Partitions are aligned to 1 MiB; the backup GPT occupies the disk's last sectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imager.cache.cache import ImageCache
from imager.content.extents import Content
from imager.formats.ext4.plan import minimum_ext4_size, plan_ext4
from imager.formats.gpt.entries import LINUX_DATA
from imager.formats.gpt.table import backup_size
from imager.image.bootloader.boot import DiskBoot, PlannedPartition
from imager.image.bootloader.bootloaders import boot_planner
from imager.image.errors import DiskTooSmallError
from imager.image.partitioned import partitioned, with_firmware
from imager.image.plan import OutputPlan, Target
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.support.repro import derived_uuid
from imager.support.units import MIB, align_up, format_size
from imager.talos.constants import EPHEMERAL, IMAGE_CACHE, META, STATE
from imager.talos.meta import META_SIZE, meta_content
from imager.talos.platforms import DISK_SIZE_INCLUDES, METAL, PLATFORMS

_STATE_SIZE = 100 * MIB
_DISK = "talos-image-disk"
_BOOTLOADER = "output.imageOptions.bootloader"
_SIZE = "output.imageOptions.diskSize"


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Sizes in bytes: of the smallest possible disk, the disk, and its last partition."""

    minimum: int
    disk: int
    last: int


def plan_disk_output(target: Target) -> OutputPlan:
    """Return the plan of the disk image.

    Without a size in the profile, the disk has Talos's default size, or the smallest size for the
    image cache. Talos's printed default is ignored if it is too small. Raises InputError for a size
    that does not work, listing the parts and the smallest possible size, and other ImagerErrors
    for inputs that a disk cannot contain.
    """
    boot_target = target.disk_boot()
    planner = boot_planner(target.bootloader, boot_target, field=_BOOTLOADER)
    overlay = target.build.overlay
    boot = planner.disk(boot_target, overlay.offset if overlay else MIB)
    boot_end = boot.partitions[-1].end
    fixed = [*boot.partitions, *_fixed_partitions(target, boot.meta, boot_end)]
    sizes = _sizes(target, boot_end, offset=fixed[-1].end)
    _check_size(target, fixed, sizes)
    partitions = [*fixed, *_last_partition(target, fixed[-1].end, sizes.last)]
    return _assemble(target, partitions, boot, sizes)


def _fixed_partitions(
    target: Target, boot_meta: Mapping[int, str], offset: int
) -> Iterator[PlannedPartition]:
    """Yield the fixed-size partitions after the boot partitions.

    The user's META values override the bootloader's.
    """
    values = {**boot_meta, **target.meta}
    content = meta_content(values) if values else Content(META_SIZE)
    meta = PlannedPartition(META, LINUX_DATA, offset, content, "raw")
    yield meta
    if target.build.quirks.data_partitions:
        yield PlannedPartition(STATE, LINUX_DATA, meta.end, Content(_STATE_SIZE), "empty")


def _last_partition(target: Target, offset: int, size: int) -> list[PlannedPartition]:
    """Return the last partition, of `size` bytes; empty if there is none."""
    if target.build.quirks.data_partitions:
        return [PlannedPartition(EPHEMERAL, LINUX_DATA, offset, Content(size), "empty")]
    if target.cache:
        return [_cache_partition(target, target.cache, offset, size)]
    return []


def _sizes(target: Target, boot_end: int, *, offset: int) -> _Sizes:
    """Return the sizes for a last partition at byte `offset`.

    The boot partitions end at byte `boot_end`.
    """
    table = backup_size(target.build.sector_size)
    least = _least_last(target)
    minimum = max(align_up(offset + least + table, MIB), _usual_size(METAL, boot_end))
    usual = _usual_size(target.build.platform, boot_end)
    roomy = _cache_with_headroom(target, least)
    is_grown = target.disk_size == _printed_size(target) < minimum
    chosen = None if is_grown else target.disk_size
    if chosen is None and roomy:
        return _Sizes(minimum, usual + roomy, roomy)
    size = max(minimum, usual) if chosen is None else chosen
    return _Sizes(minimum, size, (size - table - offset) // MIB * MIB)


def _usual_size(platform: str, boot_end: int) -> int:
    """Return the size of the platform's disks without a cache and without a chosen size."""
    return PLATFORMS[platform].disk_size - DISK_SIZE_INCLUDES + boot_end


def _printed_size(target: Target) -> int:
    """Return the size that Talos prints in profiles without one, before it adds to it."""
    return PLATFORMS[target.build.platform].disk_size


def _least_last(target: Target) -> int:
    """Return the minimum size of the last partition; 0 if there is none."""
    if target.build.quirks.data_partitions:
        return MIB
    if target.cache is None:
        return 0
    return minimum_ext4_size(target.cache.tree, scratch=target.build.scratch)


def _cache_with_headroom(target: Target, least: int) -> int:
    """Return the size of IMAGECACHE with room for a newer cache; 0 if it gets no extra room."""
    percent = target.build.quirks.cache_headroom
    if target.cache is None or not percent:
        return 0
    files = target.cache.size
    return max(align_up(files + files * percent // 100, MIB), least)


def _check_size(target: Target, partitions: Sequence[PlannedPartition], sizes: _Sizes) -> None:
    sector, size = target.build.sector_size, sizes.disk
    if size % sector:
        below = f"{size // sector * sector} or " if size > sector else ""
        raise InputError(
            f"{setting(_SIZE, str(size))} is not a multiple of the sector size, {sector} bytes",
            hint=f"use {below}{align_up(size, MIB) // MIB}MiB",
        )
    if size >= sizes.minimum:
        return
    parts = [(part.label, part.content.size) for part in partitions]
    if target.cache:
        parts.append(("image cache", target.cache.size))
    rest = sizes.minimum - sum(length for _, length in parts)
    named = ", ".join(f"{name} {_shown(length)}" for name, length in parts)
    raise DiskTooSmallError(
        f"a disk of {_shown(size)} is too small: {named}, and {_shown(rest)} for file systems,"
        " the partition table and the partitions that the node adds",
        hint=f"the smallest that works is {setting(_SIZE, f'{sizes.minimum // MIB}MiB')}",
    )


def _shown(size: int) -> str:
    """Return a size for messages: exact if it is a whole number of MiB."""
    text = format_size(size)
    return f"{size // MIB} MiB" if "." in text and size % MIB == 0 else text


def _cache_partition(target: Target, cache: ImageCache, offset: int, size: int) -> PlannedPartition:
    volume = plan_ext4(
        cache.tree,
        size=size,
        label=IMAGE_CACHE,
        uuid=derived_uuid(IMAGE_CACHE),
        timestamp=target.build.timestamp,
        scratch=target.build.scratch,
    )
    return PlannedPartition(IMAGE_CACHE, LINUX_DATA, offset, volume.content, "ext4", volume.files)


def _assemble(
    target: Target,
    partitions: Sequence[PlannedPartition],
    boot: DiskBoot,
    sizes: _Sizes,
) -> OutputPlan:
    content, regions = partitioned(
        partitions,
        size=sizes.disk,
        name=_DISK,
        sector_size=target.build.sector_size,
        boot_code=boot.boot_code,
    )
    if overlay := target.build.overlay:
        content, regions = with_firmware(overlay, content, regions)
    notes = (boot.how, *boot.notes, *_size_notes(target, sizes))
    return OutputPlan(content, regions, sizes.minimum, notes)


def _size_notes(target: Target, sizes: _Sizes) -> Iterator[str]:
    if target.disk_size == _printed_size(target) < sizes.disk:
        yield (
            f"{setting(_SIZE)} of {_shown(target.disk_size)} is what Talos prints when none is"
            f" chosen: the disk has {_shown(sizes.disk)}"
        )
