"""Plan a FAT32 file system: decide the location of each byte without writing anything.

Only metadata is created here; file data remains extents. Every file is one run of clusters that
starts at a multiple of 2048 bytes of the volume, so that a directory record of an ISO 9660 file
system around the volume can refer to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imager.content.extents import Content
from imager.content.tree import ROOT, File, PlacedFile, Tree, VolumePlan
from imager.formats.fat.directories import Folder, Stamp, folders_of
from imager.formats.fat.names import pack_label
from imager.formats.fat.tables import (
    BACKUP_SECTOR,
    FIRST_CLUSTER,
    FSINFO_SECTOR,
    LARGEST_SIZE,
    LEAST_CLUSTERS,
    ClusterRun,
    Geometry,
    allocation_table,
    boot_sector,
    fs_info,
)
from imager.support.errors import InputError
from imager.support.units import CD_SECTOR, GIB, align_up, format_size

_FILE_ALIGNMENT = CD_SECTOR
_CLUSTER_SIZES = (4096, 2048, 1024, 512)
# Cluster size: volume size above which it is used, to keep the allocation table small.
_LARGE_CLUSTERS = {32768: 32 * GIB, 16384: 16 * GIB, 8192: 8 * GIB}


@dataclass(frozen=True, slots=True)
class _Layout:
    """The cluster run of each path that has one, and the end cluster (exclusive)."""

    runs: Mapping[str, ClusterRun]
    end: int

    @property
    def span(self) -> int:
        """The number of clusters needed: used ones, and free ones that align files."""
        return self.end - FIRST_CLUSTER

    def cluster_of(self, path: str) -> int:
        """Return the first cluster of a path; 0 for an empty file, as in its record."""
        run = self.runs.get(path)
        return run.first if run else 0


def plan_fat(  # noqa: PLR0913 - each is a field of the boot sector
    tree: Tree,
    *,
    size: int,
    label: str,
    volume_id: int,
    timestamp: int,
    sector_size: int = 512,
    hidden_sectors: int = 0,
) -> VolumePlan:
    """Plan a FAT32 volume of `size` bytes that holds `tree`.

    `volume_id` has 32 bits, `timestamp` is in seconds since 1970, UTC, in 1980 to 2107 (FAT stores
    even seconds), `sector_size` is 512 or 4096, `hidden_sectors` is the number of sectors before
    the volume on its disk. Data is stored in the order of the tree's files, so that one forward
    pass over a source suffices; folders are sorted.

    Raises InputError for names and sizes that are invalid in FAT, names that differ only in case,
    an invalid label, and a `size` that is too small, with the minimum size.
    """
    packed_label, stamp = pack_label(label), Stamp.of(timestamp)
    folders = folders_of(tree)
    geometry, layout = _fit(folders, tree, size=size, sector_size=sector_size)
    boot = boot_sector(
        geometry,
        label=packed_label,
        volume_id=volume_id,
        hidden_sectors=hidden_sectors,
        root_cluster=layout.cluster_of(ROOT),
    )
    placed = [*_system_area(geometry, layout, boot)]
    for folder in folders:
        data = folder.data(layout.cluster_of, label=packed_label, stamp=stamp)
        offset = geometry.offset_of(layout.cluster_of(folder.path))
        placed.append((offset, Content.of_bytes(data)))
    places = []
    for file in tree.files:
        length = file.content.size
        offset = geometry.offset_of(layout.cluster_of(file.path)) if length else 0
        places.append(PlacedFile(file.path, offset, length))
        placed.append((offset, file.content))
    return VolumePlan(Content.compose(size, placed), tuple(places))


def check_fat_tree(tree: Tree) -> None:
    """Raise InputError if `tree` has a file, name or folder that no FAT volume can hold."""
    folders_of(tree)


def minimum_fat_size(tree: Tree, *, sector_size: int = 512) -> int:
    """Return the minimum size in bytes, a multiple of 4096, for which `plan_fat` succeeds.

    Raises InputError for names and file sizes that are invalid in FAT.
    """
    folders = folders_of(tree)
    return min(
        Geometry.holding(
            max(_allocate(folders, tree.files, cluster_size).span, LEAST_CLUSTERS),
            sector_size=sector_size,
            cluster_size=cluster_size,
        ).size
        for cluster_size in _cluster_sizes(sector_size)
    )


def _cluster_sizes(sector_size: int, volume_size: int = 0) -> list[int]:
    """Return the cluster sizes to try, best first; above 8 GiB larger ones, like Windows."""
    large = (size for size, above in _LARGE_CLUSTERS.items() if volume_size > above)
    return [*large, *(size for size in _CLUSTER_SIZES if size >= sector_size)]


def _fit(
    folders: Sequence[Folder], tree: Tree, *, size: int, sector_size: int
) -> tuple[Geometry, _Layout]:
    """Return the geometry with the largest clusters that is FAT32 and has space for the files."""
    if size % sector_size or size > LARGEST_SIZE:
        raise InputError(
            f"invalid size for a FAT file system: {size} bytes",
            hint=f"use whole sectors of {sector_size} bytes, up to {format_size(LARGEST_SIZE)}",
        )
    for cluster_size in _cluster_sizes(sector_size, size):
        geometry = Geometry.of(size, sector_size=sector_size, cluster_size=cluster_size)
        layout = _allocate(folders, tree.files, cluster_size)
        if geometry.clusters >= max(layout.span, LEAST_CLUSTERS):
            return geometry, layout
    least = minimum_fat_size(tree, sector_size=sector_size)
    raise InputError(
        f"a FAT32 file system of {format_size(size)} with {sector_size}-byte sectors is too"
        f" small: these files need {format_size(least)}",
        hint=f"make it at least {least} bytes",
    )


def _allocate(folders: Sequence[Folder], files: Sequence[File], cluster_size: int) -> _Layout:
    """Allocate clusters in order: the folders, by path, then the files."""
    step = max(_FILE_ALIGNMENT // cluster_size, 1)
    runs: dict[str, ClusterRun] = {}
    end = FIRST_CLUSTER
    for folder in folders:
        runs[folder.path] = ClusterRun(end, -(-folder.size // cluster_size))
        end = runs[folder.path].end
    for file in files:
        if file.content.size:
            start = FIRST_CLUSTER + align_up(end - FIRST_CLUSTER, step)
            runs[file.path] = ClusterRun(start, -(-file.content.size // cluster_size))
            end = runs[file.path].end
    return _Layout(runs, end)


def _system_area(geometry: Geometry, layout: _Layout, boot: bytes) -> Iterator[tuple[int, Content]]:
    used = sum(run.count for run in layout.runs.values())
    info = Content.of_bytes(fs_info(geometry, used=used, end=layout.end))
    for sector in (0, BACKUP_SECTOR):
        yield sector * geometry.sector_size, Content.of_bytes(boot)
        yield (sector + FSINFO_SECTOR) * geometry.sector_size, info
    table = Content.of_bytes(allocation_table(layout.runs.values(), end=layout.end))
    for offset in geometry.fat_offsets:
        yield offset, table
