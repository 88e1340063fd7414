"""The layout of an image: its partition table, what is where, and the volumes in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.formats.eltorito import BootImage, read_boot_images
from imager.formats.fat.geometry import is_fat
from imager.formats.gpt.read import gpt_sector_size, read_table
from imager.formats.gpt.table import Table
from imager.formats.iso9660.read import is_iso9660
from imager.formats.partitions import HEAD, FoundPartition, partitions_of, read_logical, read_mbr
from imager.image.inspect.model import PartitionInfo, Region, TableInfo
from imager.image.inspect.notes import Notes
from imager.image.inspect.partition_types import flags_of, type_name
from imager.image.inspect.volumes import Volume, VolumePlace, open_volume
from imager.support.units import CD_SECTOR

_SECTOR = 512
_MOST_VOLUMES = 128
_SYSTEM_AREA = 16 * CD_SECTOR


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a disk image, an ISO or a file system; `head` are its first bytes."""

    head: bytes
    is_iso: bool
    table: TableInfo | None
    found: tuple[FoundPartition, ...]
    boot_images: tuple[BootImage, ...]
    volumes: tuple[Volume, ...]
    regions: tuple[Region, ...]

    @property
    def partitions(self) -> tuple[PartitionInfo, ...]:
        """The partitions as the result shows them."""
        return tuple(
            PartitionInfo(
                each.number,
                each.offset,
                each.size,
                each.label,
                each.type_id,
                type_name(each.type_id),
                each.uuid,
                flags_of(each),
            )
            for each in self.found
        )


def read_layout(image: Content, notes: Notes) -> Layout:
    """Return the layout of an image; what is damaged or unknown in it is in `notes`."""
    with ContentReader(image) as reader:
        head = reader.read(0, HEAD)
    is_iso = is_iso9660(head)
    table, tables, partitions = _partitions(image, head, notes)
    boot_images: tuple[BootImage, ...] = ()
    if is_iso:
        with notes.reading("El Torito"):
            boot_images = read_boot_images(image, name="El Torito")
    inside = tuple(_inside(image, partitions, notes))
    places = _places(image, inside, boot_images, is_iso=is_iso)
    volumes = tuple(_volumes(image, places, notes))
    spans = [*tables, *_spans(inside, volumes, is_iso=is_iso)]
    regions = tuple(_painted(image.size, spans))
    return Layout(head, is_iso, table, inside, boot_images, volumes, regions)


def _partitions(
    image: Content, head: bytes, notes: Notes
) -> tuple[TableInfo | None, list[Region], tuple[FoundPartition, ...]]:
    """Return the table, the places of its parts, and the partitions in it."""
    sector = gpt_sector_size(head)
    if sector is not None and read_mbr(head):
        # As on Debian's installers: a GPT without a protective MBR is for firmware of old Macs.
        notes.unread("GPT", "it is not used, since the MBR has partitions of its own")
    elif sector is not None:
        gpt: Table | None = None
        with notes.reading("GPT"):
            gpt = read_table(image, sector, name="GPT")
        if gpt is not None:
            if gpt.problem:
                notes.damaged("GPT", gpt.problem)
            info = TableInfo("GPT", sector, str(gpt.disk_guid))
            return info, list(_gpt_regions(gpt, image.size)), partitions_of(gpt)
    found = () if is_fat(head) else read_mbr(head)
    if not is_fat(head):
        with ContentReader(image) as reader:
            found = (*found, *read_logical(reader))
    if not found:
        return None, [], ()
    return TableInfo("MBR", _SECTOR), [Region(0, _SECTOR, "MBR", "table", _SECTOR)], found


def _gpt_regions(table: Table, size: int) -> Iterator[Region]:
    array = table.array * table.sector_size
    first = min(array + len(table.padded_entries), size)
    yield Region(0, first, "GPT", "table", first)
    backup = table.backup_offset
    if first <= backup < size:
        yield Region(backup, size - backup, "GPT backup", "table", size - backup)


def _inside(
    image: Content, partitions: Iterable[FoundPartition], notes: Notes
) -> Iterator[FoundPartition]:
    """Yield the partitions that are in the image."""
    for each in partitions:
        if each.size <= 0 or each.offset + each.size > image.size:
            notes.damaged(partition_place(each), "it ends after the end of the image")
        if each.size > 0 and each.offset < image.size:
            yield each


def _places(
    image: Content,
    partitions: tuple[FoundPartition, ...],
    boot_images: tuple[BootImage, ...],
    *,
    is_iso: bool,
) -> Iterator[VolumePlace]:
    """Yield the places where a volume may be; an offset may occur twice."""
    if is_iso or not partitions:
        yield VolumePlace("ISO 9660" if is_iso else "image", 0, image.size)
    for each in partitions:
        size = min(each.size, image.size - each.offset)
        yield VolumePlace(partition_place(each), each.offset, size, each.label)
    with ContentReader(image) as reader:
        for boot in boot_images:
            if is_fat(reader.read(boot.offset, _SECTOR)):
                name = f"El Torito image {boot.number}"
                yield VolumePlace(name, boot.offset, image.size - boot.offset)


def _volumes(image: Content, places: Iterable[VolumePlace], notes: Notes) -> Iterator[Volume]:
    seen: set[int] = set()
    for where in places:
        if where.offset in seen:
            continue
        if len(seen) == _MOST_VOLUMES:
            notes.unread("image", f"only the first {_MOST_VOLUMES} volumes are read")
            return
        seen.add(where.offset)
        volume = open_volume(image, where, notes)
        if volume is not None:
            yield volume


def partition_place(partition: FoundPartition) -> str:
    """Return the name of a partition in messages."""
    label = f" ({partition.label})" if partition.label.isprintable() and partition.label else ""
    return f"partition {partition.number}{label}"


def _spans(
    partitions: Iterable[FoundPartition], volumes: Iterable[Volume], *, is_iso: bool
) -> Iterator[Region]:
    known = {volume.offset: volume for volume in volumes}
    starts = set()
    for each in partitions:
        volume = known.get(each.offset)
        starts.add(each.offset)
        used = volume.file_system.used if volume else None
        name = each.label or type_name(each.type_id) or f"partition {each.number}"
        yield Region(each.offset, each.size, name, "partition", used)
    for volume in known.values():
        if volume.offset in starts:
            continue
        size = volume.file_system.size or volume.content.size
        name = volume.place if volume.place != "image" else volume.file_system.kind
        yield Region(volume.offset, size, name, "filesystem", volume.file_system.used)
    if is_iso:
        yield Region(0, _SYSTEM_AREA, "system area", "boot-code")


def _painted(size: int, spans: Iterable[Region]) -> Iterator[Region]:
    """Yield regions that do not overlap, over the whole image: the smallest are on top."""
    waiting = sorted(spans, key=lambda each: -each.offset)
    ends = {min(each.offset + each.size, size) for each in waiting}
    edges = sorted({0, size, *ends, *(min(each.offset, size) for each in waiting)})
    # The spans around the present edge; the smallest is the first.
    around: list[tuple[int, int, Region]] = []
    last: Region | None = None
    start = 0
    for edge in edges[:-1]:
        while waiting and waiting[-1].offset <= edge:
            span = waiting.pop()
            heappush(around, (span.size, len(waiting), span))
        while around and around[0][2].offset + around[0][2].size <= edge:
            heappop(around)
        top = around[0][2] if around else None
        if edge and top is not last:
            yield _cut(last, start, edge)
            start = edge
        last = top
    if size:
        yield _cut(last, start, size)


def _cut(region: Region | None, start: int, end: int) -> Region:
    if region is None:
        return Region(start, end - start, "not partitioned", "free", 0)
    whole = (region.offset, region.size) == (start, end - start)
    return Region(start, end - start, region.name, region.kind, region.used if whole else None)
