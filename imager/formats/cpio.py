"""cpio archives in the "newc" format, as the kernel unpacks them for an initramfs.

Specification: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. All entries are
owned by root, inode numbers start at 1, and all times are equal, so the same tree gives the same
bytes. Archives are also read in place; those to read may be of the variant with checksums.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.content.random_access import ContentReader, as_content
from imager.content.tree import Device, File, Link, PlacedFile, Tree, VolumePlan
from imager.formats.errors import DamagedVolumeError
from imager.support.errors import InputError
from imager.support.units import align_up

_MAGIC = "070701"
# The second variant has checksums, which the kernel does not check either.
MAGICS = (_MAGIC.encode(), b"070702")
_TRAILER = "TRAILER!!!"
_HEADER_SIZE = 110
_HEADER = re.compile(rb"07070[12](?:[0-9A-Fa-f]{8}){13}")
_LONGEST_NAME = 4096
_MOST_ENTRIES = 1 << 20
_ALIGNMENT = 4
_LARGEST_FIELD = 0xFFFFFFFF
_NOTHING = Content(0)


@dataclass(frozen=True, slots=True)
class _Record:
    """An entry of the archive; `mode` includes the file type."""

    path: str
    mode: int
    content: Content = _NOTHING
    device: tuple[int, int] = (0, 0)


def plan_cpio(tree: Tree, *, timestamp: int) -> VolumePlan:
    """Return an archive of `tree`: folders, files, links and devices, in tree order.

    All modification times are `timestamp` (seconds since 1970, UTC). Raises ValueError for a file
    size or time that does not fit into the 32-bit fields of the format.
    """
    placed: list[tuple[int, Content]] = []
    files: list[PlacedFile] = []
    end = 0
    for inode, record in enumerate(_records(tree), start=1):
        head = Content.of_bytes(_header(record, inode=inode, timestamp=timestamp))
        start = end + head.size
        placed += [(end, head), (start, record.content)]
        if stat.S_ISREG(record.mode):
            files.append(PlacedFile(record.path, start, record.content.size))
        end = start + align_up(record.content.size, _ALIGNMENT)
    trailer = Content.of_bytes(_header(_Record(_TRAILER, 0), inode=0, timestamp=0))
    return VolumePlan(Content.compose(end + trailer.size, [*placed, (end, trailer)]), tuple(files))


def _records(tree: Tree) -> Iterator[_Record]:
    """Yield the entries, folders first, because the kernel does not create missing folders."""
    for path in tree.folders:
        yield _Record(path, stat.S_IFDIR | 0o755)
    for file in tree.files:
        yield _Record(file.path, stat.S_IFREG | file.mode, file.content)
    for node in tree.nodes:
        match node:
            case Link(path, target):
                yield _Record(path, stat.S_IFLNK | 0o777, Content.of_bytes(target.encode()))
            case Device(path, major, minor):
                yield _Record(path, stat.S_IFCHR | 0o600, device=(major, minor))


def _header(record: _Record, *, inode: int, timestamp: int) -> bytes:
    name = record.path.encode() + b"\0"
    fields = (
        inode,
        record.mode,
        0,  # uid
        0,  # gid
        2 if stat.S_ISDIR(record.mode) else 1,
        timestamp,
        record.content.size,
        0,  # major of the archive's own device
        0,  # minor
        *record.device,
        len(name),
        0,  # checksum: only used by the crc format
    )
    if max(fields) > _LARGEST_FIELD or min(fields) < 0:
        raise ValueError(f"{record.path!r} does not fit into a cpio header")
    header = (_MAGIC + "".join(f"{field:08x}" for field in fields)).encode() + name
    return header.ljust(align_up(len(header), _ALIGNMENT), b"\0")


@dataclass(frozen=True, slots=True)
class OpenedCpio:
    """The entries of an archive, and where it ends in its file."""

    tree: Tree
    end: int


def open_cpio(source: Path | Content, *, offset: int = 0, name: str = "") -> OpenedCpio:
    """Return the entries of the archive at byte `offset` of a file; its files are read in place.

    Of entries with the same path, the last one counts, as for the kernel; `others` has those that
    are not files, folders, links or character devices. Raises DamagedVolumeError.
    """
    files: dict[str, File] = {}
    nodes: dict[str, Link | Device] = {}
    folders: dict[str, None] = {}
    others: list[str] = []
    end = offset
    name = name or (str(source) if isinstance(source, Path) else "the image")
    whole = as_content(source)
    with ContentReader(whole) as reader:
        archive = _Archive(name, reader)
        for entry in archive.entries(offset):
            end = entry.end
            path = entry.path
            for found in (files, nodes, folders):
                found.pop(path, None)
            if path == _TRAILER:
                break
            match stat.S_IFMT(entry.mode):
                case stat.S_IFREG:
                    content = archive.content(whole, entry)
                    files[path] = File(path, content, mode=stat.S_IMODE(entry.mode))
                case stat.S_IFDIR:
                    folders |= {path: None} if path != "." else {}
                case stat.S_IFLNK:
                    target = archive.read(entry.start, min(entry.size, _LONGEST_NAME))
                    nodes[path] = Link(path, os.fsdecode(target))
                case stat.S_IFCHR:
                    nodes[path] = Device(path, *entry.device)
                case _:
                    others.append(path)
    try:
        tree = Tree.of(files.values(), folders, nodes=nodes.values(), others=others)
    except InputError as error:
        raise DamagedVolumeError(f"{name}: the cpio archive is damaged: {error.message}") from error
    return OpenedCpio(tree, end)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry with `size` bytes of data at byte `start` of the file; the next is at `end`."""

    path: str
    mode: int
    device: tuple[int, int]
    start: int
    size: int
    end: int


class _Archive:
    """An archive in a file, all of whose numbers are checked."""

    def __init__(self, name: str, reader: ContentReader) -> None:
        self._name = name
        self._reader = reader

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes; raises DamagedVolumeError if the file ends before."""
        data = self._reader.read(offset, length)
        if len(data) < length:
            raise self._damaged(f"it ends before byte {offset + length}")
        return data

    def content(self, whole: Content, entry: _Entry) -> Content:
        """Return the data of an entry; raises DamagedVolumeError if the file ends before."""
        if entry.start + entry.size > whole.size:
            raise self._damaged(f"it ends before byte {entry.start + entry.size}")
        return whole.slice(entry.start, entry.size)

    def entries(self, offset: int) -> Iterator[_Entry]:
        """Yield the entries up to the trailer, which comes last: all data before it are there."""
        for _ in range(_MOST_ENTRIES):
            entry = self._entry(offset)
            yield entry
            if entry.path == _TRAILER:
                return
            offset = entry.end
        raise self._damaged(f"it has more than {_MOST_ENTRIES} entries")

    def _entry(self, offset: int) -> _Entry:
        header = self.read(offset, _HEADER_SIZE)
        if not _HEADER.fullmatch(header):
            raise self._damaged(f"there is no header at byte {offset}")
        fields = [int(header[start : start + 8], 16) for start in range(6, _HEADER_SIZE, 8)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        if not 2 <= name_size <= _LONGEST_NAME:
            raise self._damaged(f"the name at byte {offset} has {name_size} bytes")
        name = self.read(offset + _HEADER_SIZE, name_size).rstrip(b"\0")
        start = offset + align_up(_HEADER_SIZE + name_size, _ALIGNMENT)
        path = os.fsdecode(name).removeprefix("./").strip("/") or "."
        end = start + align_up(size, _ALIGNMENT)
        return _Entry(path, mode, (fields[9], fields[10]), start, size, end)

    def _damaged(self, problem: str) -> DamagedVolumeError:
        return DamagedVolumeError(f"{self._name}: the cpio archive is damaged: {problem}")
