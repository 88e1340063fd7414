"""The folders of a FAT volume, and their on-disk records.

Follows Microsoft's "FAT32 File System Specification" (fatgen103), section "FAT Directory
Structure". pyfatfs's objects serialize the records.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from imager.content.tree import ROOT, File, Tree, name_of, parent
from imager.formats.errors import ImpossibleNameError
from imager.formats.fat.names import aliases, check_name, folded, long_records, record_count

RECORD_SIZE = 32

LARGEST_FILE = (1 << 32) - 1
_MOST_RECORDS = 65_536
_READ_ONLY, _VOLUME_LABEL, _FOLDER, _ARCHIVE = 0x01, 0x08, 0x10, 0x20
_WRITABLE = 0o222
_DOT, _DOT_DOT = b".".ljust(11), b"..".ljust(11)
_FIRST_YEAR = 1980


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a folder: a file, or a folder if `file` is None."""

    path: str
    alias: bytes
    long_name: bytes
    file: File | None

    def records(self, cluster: int, stamp: Stamp) -> bytes:
        """Return the entry's on-disk records; `cluster` is the first cluster, 0 if it has none."""
        if self.file is None:
            return self.long_name + record(self.alias, _FOLDER, stamp, cluster=cluster)
        attributes = _ARCHIVE | (0 if self.file.mode & _WRITABLE else _READ_ONLY)
        size = self.file.content.size
        return self.long_name + record(self.alias, attributes, stamp, cluster=cluster, size=size)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder: its path, its parent's path (None for the root), and its entries."""

    path: str
    above: str | None
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """The size of its records in bytes: the label or "." and "..", then the entries."""
        own = 1 if self.above is None else 2
        records = own + len(self.entries)
        return records * RECORD_SIZE + sum(len(entry.long_name) for entry in self.entries)

    def data(self, cluster_of: Callable[[str], int], *, label: bytes, stamp: Stamp) -> bytes:
        """Return the folder's records; `cluster_of` maps a path to its first cluster."""
        if self.above is None:
            own = record(label, _VOLUME_LABEL, stamp)
        else:
            # ".." refers to the root as cluster 0, regardless of its actual cluster.
            above = cluster_of(self.above) if self.above != ROOT else 0
            own = record(_DOT, _FOLDER, stamp, cluster=cluster_of(self.path))
            own += record(_DOT_DOT, _FOLDER, stamp, cluster=above)
        parts = (entry.records(cluster_of(entry.path), stamp) for entry in self.entries)
        return own + b"".join(parts)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A date and a time as FAT's two 16-bit numbers."""

    date: int
    time: int

    @classmethod
    def of(cls, timestamp: int) -> Stamp:
        """Return the stamp of `timestamp` (seconds since 1970, UTC), rounded down to even seconds.

        It must be in the years 1980 to 2107.
        """
        at = datetime.fromtimestamp(timestamp, UTC)
        date = (at.year - _FIRST_YEAR) << 9 | at.month << 5 | at.day
        return cls(date, at.hour << 11 | at.minute << 5 | at.second // 2)


def record(
    alias: bytes, attributes: int, stamp: Stamp, *, cluster: int = 0, size: int = 0
) -> bytes:
    """Return the 32 bytes of a directory record."""
    from pyfatfs.EightDotThree import EightDotThree
    from pyfatfs.FATDirectoryEntry import FATDirectoryEntry

    name = EightDotThree()
    name.set_byte_name(alias)
    entry = FATDirectoryEntry(
        DIR_Name=name,
        DIR_Attr=attributes,
        DIR_NTRes=0,
        DIR_CrtTimeTenth=0,
        DIR_CrtTime=stamp.time,
        DIR_CrtDate=stamp.date,
        DIR_LstAccessDate=stamp.date,
        DIR_FstClusHI=cluster >> 16,
        DIR_WrtTime=stamp.time,
        DIR_WrtDate=stamp.date,
        DIR_FstClusLO=cluster & 0xFFFF,
        DIR_FileSize=size,
    )
    return bytes(entry)


def folders_of(tree: Tree) -> tuple[Folder, ...]:
    """Return the folders of `tree`, the root first, all sorted by path.

    Raises InputError for a file larger than 4 GiB - 1, a name that is invalid in FAT, two names in
    a folder that differ only in case, and a folder of more than 65,536 records.
    """
    files = {file.path: file for file in tree.files}
    for file in tree.files:
        _check_size(file)
    return tuple(_folder(path, tree.entries[path], files) for path in sorted(tree.entries))


def _check_size(file: File) -> None:
    if file.content.size > LARGEST_FILE:
        raise ImpossibleNameError(
            f"{file.path}: {file.content.size} bytes exceeds the size limit of a file on FAT,"
            " 4 GiB less one byte",
            hint="put it on a partition with another file system",
        )


def _check_room(path: str, names: Collection[str]) -> None:
    own = 1 if path == ROOT else 2
    records = own + sum(map(record_count, names))
    if records > _MOST_RECORDS:
        raise ImpossibleNameError(
            f"{path or '/'}: {len(names)} names are too many for one FAT folder: they"
            f" need {records} records, and the limit is {_MOST_RECORDS}"
        )


def _folder(path: str, entries: Collection[str], files: Mapping[str, File]) -> Folder:
    names = {name_of(entry): entry for entry in sorted(entries)}
    _check_names(names)
    _check_room(path, names)
    alias_of = aliases([*names])
    return Folder(
        path,
        None if path == ROOT else parent(path),
        tuple(
            Entry(entry, alias_of[name], long_records(name, alias_of[name]), files.get(entry))
            for name, entry in names.items()
        ),
    )


def _check_names(names: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for name, path in names.items():
        check_name(name, path=path)
        known = seen.setdefault(folded(name), path)
        if known != path:
            raise ImpossibleNameError(
                f"{known!a} and {path!a} are the same name on a FAT file system",
                hint="rename one of them: FAT ignores case",
            )
