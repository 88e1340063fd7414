"""Read foreign FAT volumes, as written by mkfs.fat, mtools, Linux and Windows.

It tolerates what occurs on USB sticks: stale free counts, 8.3 names in any case, clusters after a
file's end. Like Linux and EDK II, it reads one allocation table; `fat_tables_agree` compares the
copies. Follows Microsoft's "FAT32 File System Specification" (fatgen103).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from imager.content.extents import Content
from imager.content.tree import Tree
from imager.formats.fat.geometry import RECORD, Geometry
from imager.formats.fat.names import folded, long_name
from imager.formats.fat.tables import FIRST_CLUSTER
from imager.formats.numbers import read_numbers
from imager.formats.runs import Run
from imager.formats.volume_reader import (
    DamagedError,
    Format,
    Kind,
    OpenedVolume,
    RawEntry,
    opened_volume,
    read_tree,
)

_PART = 1 << 20
_LABEL, _FOLDER, _LONG, _ATTRIBUTES = 0x08, 0x10, 0x0F, 0x3F
_DOT, _DOT_DOT = b".".ljust(11), b"..".ljust(11)
_LARGEST_FOLDER = 65_536 * RECORD.size
_LOWER_STEM, _LOWER_EXTENSION = 0x08, 0x10
_END, _DELETED, _E5 = 0x00, 0xE5, 0x05


@dataclass(frozen=True, slots=True)
class _Place:
    """The first cluster (0: none, or a fixed root) and size in bytes of a file or folder."""

    cluster: int
    size: int = field(compare=False)


def open_fat(
    source: Path | Content,
    *,
    offset: int = 0,
    size: int | None = None,
    folder: str = "",
    name: str = "",
) -> Tree:
    """Return the contents of `folder` in a FAT volume; see `read_tree`.

    The volume has `size` bytes (None: up to the end) at byte `offset` of `source`. Names
    are case-insensitive. Raises InputError for a damaged or truncated volume, UnsupportedError
    for an allocation table of more than 128 MiB, OutputError for a read error.
    """
    with opened_volume(source, offset=offset, size=size, what="FAT", name=name) as volume:
        return read_tree(volume, _Fat(volume), folder)


def fat_tables_agree(
    source: Path | Content, *, offset: int = 0, size: int | None = None, name: str = ""
) -> bool:
    """Return whether the copies of the allocation table are equal; raises like `open_fat`.

    True if there is only one table, or if FAT32 table mirroring is disabled.
    """
    with opened_volume(source, offset=offset, size=size, what="FAT", name=name) as volume:
        geometry = Geometry.read(volume)
        starts = range(0, geometry.table_size, _PART)
        return all(
            volume.read(geometry.table + start, length) == volume.read(copy + start, length)
            for copy in geometry.copies
            for start in starts
            for length in (min(_PART, geometry.table_size - start),)
        )


def read_fat_label(source: Path | Content) -> str:
    """Return the label of a FAT volume; empty if it has none.

    It is read from the first cluster of the root folder, since Windows does not update the boot
    sector. Raises InputError for a damaged volume, UnsupportedError and OutputError like
    `open_fat`.
    """
    with opened_volume(source, offset=0, size=None, what="FAT") as volume:
        return _label(volume, Geometry.read(volume))


@dataclass(frozen=True, slots=True)
class FatDescription:
    """The kind (12, 16 or 32 `bits`), label, serial number and sizes in bytes of a volume."""

    bits: int
    label: str
    serial: int
    size: int
    used: int


def describe_fat(source: Path | Content, *, name: str = "") -> FatDescription:
    """Return the description of a FAT volume; raises like `open_fat`."""
    with opened_volume(source, offset=0, size=None, what="FAT", name=name) as volume:
        geometry = Geometry.read(volume)
        head = volume.read(0, 512)
        extended = 64 if geometry.bits == 32 else 36
        serial = int.from_bytes(head[extended + 3 : extended + 7], "little")
        table = _entries(volume.read(geometry.table, geometry.table_size), geometry.bits)
        free = table[FIRST_CLUSTER : FIRST_CLUSTER + geometry.clusters].count(0)
        size = geometry.data + geometry.clusters * geometry.cluster_size
        used = size - free * geometry.cluster_size
        return FatDescription(geometry.bits, _label(volume, geometry), serial, size, used)


def _label(volume: OpenedVolume, geometry: Geometry) -> str:
    place, length = geometry.data - geometry.root_size, geometry.root_size
    if geometry.bits == 32:
        place, length = geometry.offset(geometry.root), geometry.cluster_size
    for alias, attributes, *_ in RECORD.iter_unpack(volume.read(place, length)):
        if alias[0] == _END:
            break
        # Long-name records have the label attribute too, combined with others.
        is_label = attributes & (_LABEL | _FOLDER) == _LABEL and attributes & _LONG != _LONG
        if is_label and alias[0] != _DELETED:
            return _unescaped(alias).decode("cp437").rstrip(" ")
    return ""


def _entries(table: bytes, bits: int) -> array[int]:
    if bits == 12:
        pairs = zip(table[::3], table[1::3], table[2::3] + b"\0", strict=False)
        both = ((one | (two & 15) << 8, two >> 4 | three << 4) for one, two, three in pairs)
        return array("H", (entry for pair in both for entry in pair))
    return read_numbers(table, "H" if bits == 16 else "I", "little")


class _Fat(Format[_Place]):
    def __init__(self, volume: OpenedVolume) -> None:
        self._volume = volume
        self._geometry = geometry = Geometry.read(volume)
        table = volume.read(geometry.table, geometry.table_size)
        self._table = _entries(table, geometry.bits)
        self._end = geometry.clusters + FIRST_CLUSTER
        # The last eight values mark the end of a chain.
        self._numbers = geometry.numbers
        self._last = self._numbers - 7
        self.root = _Place(geometry.root, 0)

    def key(self, name: str) -> str:
        return folded(name)

    def entries(self, folder: _Place) -> Iterator[RawEntry[_Place]]:
        long_records: list[bytes] = []
        for raw in self._records(folder):
            self._volume.count()
            alias, attributes, case, cluster_high, cluster, size = RECORD.unpack(raw)
            if alias[0] == _END:
                return
            if attributes & _ATTRIBUTES == _LONG and alias[0] != _DELETED:
                long_records.append(raw)
                continue
            name = long_name(long_records, alias) or _short_name(alias, case)
            long_records = []
            if alias[0] == _DELETED or attributes & _LABEL or alias in (_DOT, _DOT_DOT):
                continue
            if self._geometry.bits == 32:
                cluster |= cluster_high << 16
            kind = Kind.FOLDER if attributes & _FOLDER else Kind.FILE
            yield RawEntry(name, kind, _Place(cluster, size))

    def content(self, file: _Place) -> Content:
        return self._volume.content(file.size, self._runs(file))

    def _records(self, folder: _Place) -> Iterator[bytes]:
        for place, length in self._parts(folder):
            data = self._volume.read(place, length)
            yield from (data[at : at + RECORD.size] for at in range(0, length, RECORD.size))

    def _parts(self, folder: _Place) -> Iterator[tuple[int, int]]:
        """Yield the (offset, length) in bytes of a folder's extents."""
        geometry = self._geometry
        if folder.cluster == 0 and geometry.bits != 32:
            yield geometry.data - geometry.root_size, geometry.root_size
            return
        cluster, size = folder.cluster, 0
        while cluster < self._last:
            following = self._following(cluster)
            yield geometry.offset(cluster), geometry.cluster_size
            cluster = following
            size += geometry.cluster_size
            if size > _LARGEST_FOLDER:
                raise DamagedError(f"the folder at cluster {folder.cluster} is too large or a loop")

    def _runs(self, file: _Place) -> Iterator[Run]:
        """Yield the runs of a file's data; clusters after its end are ignored."""
        size = self._geometry.cluster_size
        count = -(-file.size // size)
        done, cluster = 0, file.cluster
        while done < count:
            start, length = cluster, 0
            while done + length < count and cluster == start + length:
                cluster = self._following(cluster)
                length += 1
            yield Run(done * size, self._geometry.offset(start), length * size)
            done += length

    def _following(self, cluster: int) -> int:
        if not FIRST_CLUSTER <= cluster < self._end:
            raise DamagedError(f"a cluster chain refers to cluster {cluster}, which does not exist")
        return self._table[cluster] & self._numbers


def _short_name(alias: bytes, case: int) -> str:
    """Return an 8.3 name; Windows stores the lower case of stem and extension in two bits."""
    alias = _unescaped(alias)
    stem, extension = alias[:8].decode("cp437").rstrip(" "), alias[8:].decode("cp437").rstrip(" ")
    stem = stem.lower() if case & _LOWER_STEM else stem
    extension = extension.lower() if case & _LOWER_EXTENSION else extension
    return f"{stem}.{extension}" if extension else stem


def _unescaped(alias: bytes) -> bytes:
    return b"\xe5" + alias[1:] if alias[0] == _E5 else alias
