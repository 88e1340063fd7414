"""Assemble a disk from planned partitions: the content with its GPT, and the regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from imager.content.extents import Content
from imager.formats.gpt.entries import Partition
from imager.formats.gpt.table import plan_gpt
from imager.image.bootloader.boot import PlannedPartition
from imager.image.errors import OverlayFailedError
from imager.image.plan import Region, RegionKind, file_regions
from imager.support.repro import derived_uuid

if TYPE_CHECKING:
    from imager.image.overlay import InstalledOverlay


def partitioned(
    partitions: Sequence[PlannedPartition],
    *,
    size: int,
    name: str,
    sector_size: int = 512,
    boot_code: bytes = b"",
) -> tuple[Content, tuple[Region, ...]]:
    """Return a disk of `size` bytes with `partitions`, and its regions in order.

    The disk's GUID is derived from `name`, a partition's GUID from its label.
    """
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
        disk_guid=derived_uuid(name),
        sector_size=sector_size,
        boot_code=boot_code,
    )
    placed = [(0, gpt.primary), *((part.offset, part.content) for part in partitions)]
    content = Content.compose(size, [*placed, (gpt.backup_offset, gpt.backup)])
    regions = (
        Region(RegionKind.TABLE, "GPT", 0, gpt.primary.size),
        *(region for part in partitions for region in _regions(part)),
        Region(RegionKind.TABLE, "GPT backup", gpt.backup_offset, gpt.backup.size),
    )
    return content, regions


def _regions(part: PlannedPartition) -> Iterator[Region]:
    """Yield the regions of a partition and the files in it."""
    yield Region(RegionKind.PARTITION, part.label, part.offset, part.content.size, part.format_name)
    yield from file_regions(part.files, folder=f"{part.label}/", offset=part.offset)


def with_firmware(
    overlay: InstalledOverlay, disk: Content, regions: Sequence[Region]
) -> tuple[Content, tuple[Region, ...]]:
    """Return the disk with the firmware of a board in front of its partitions.

    Raises OverlayFailedError if that is where the partition table is.
    """
    name = f"firmware of {overlay.name}"
    parts = [
        Region(RegionKind.TABLE, name, each.offset, each.length)
        for each in overlay.firmware.extents
    ]
    try:
        content = Content.compose(disk.size, [(0, disk), (0, overlay.firmware)])
    except ValueError as error:
        raise OverlayFailedError(
            f"overlay {overlay.name} writes over the partition table, between byte"
            f" {parts[0].offset} and {parts[-1].offset + parts[-1].length}"
        ) from error
    return content, tuple(sorted([*regions, *parts], key=lambda region: region.offset))
