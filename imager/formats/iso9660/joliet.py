"""Joliet: a second directory tree over the same file data, with the names that Windows reads.

Microsoft's "Joliet Specification" (1995): a supplementary volume descriptor (ECMA-119, section 8.5)
with the escape sequence of UCS-2 level 3, and its own path tables (9.4) and directory records
(9.1). The specification limits names to 64 characters, but the technical limit is the record of 255
bytes: mkisofs's -joliet-long writes 103, and Windows, Linux, 7-Zip and libarchive read those.
Files have no version number (`;1`), as with mkisofs and xorriso.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

from imager.content.tree import ROOT, Tree, name_of
from imager.formats.fat.names import folded
from imager.formats.iso9660.metadata import OWNER, RECORD_LIMIT
from imager.support.units import CD_SECTOR, align_up

# In UTF-16 units.
LONGEST_NAME = 103

_LONGEST_VOLUME_ID = 16
_UCS2_LEVEL_3 = b"%/E"
_FORBIDDEN = re.compile(r'[\x00-\x1f"*/:;<>?\\|]')
# Names of this form are always shortened, so that a shortened name cannot match an original one.
_SHORTENED = re.compile(r"~[0-9a-f]{16}$", re.ASCII)
_DIRECTORY, _CONTINUED = 0x02, 0x80
_SELF, _PARENT = b"\0", b"\1"
_RECORD = struct.Struct("<BB8s8s7sBBB4sB")
_DESCRIPTOR = struct.Struct(
    "<B5sBB32s32s8x8s32s4s4s4s8sI4x4s4x34s128s128s128s128s37s37s37s17s17s17s17sB1166x"
)


def joliet_volume_id(volume_id: str) -> str:
    """Return the volume id in Joliet: its first 16 characters."""
    return volume_id[:_LONGEST_VOLUME_ID]


@dataclass(frozen=True, slots=True)
class _Folder:
    """A directory: the number of its parent, its entries in order, and its size in bytes."""

    path: str
    above: int
    entries: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class JolietTree:
    """A tree of files with known lengths in bytes, but without locations.

    `folders` are in path table order. `names` maps the paths of renamed files and directories to
    their new names.
    """

    folders: tuple[_Folder, ...]
    lengths: Mapping[str, int]
    names: Mapping[str, str]

    @classmethod
    def of(cls, tree: Tree) -> JolietTree:
        """Return `tree` with names that are valid in Joliet.

        A name that is invalid in Windows, or differs from a sibling's only in case, is replaced by
        its start and a digest of it.
        """
        children = tree.entries
        lengths = {file.path: file.content.size for file in tree.files}
        names = dict(_other_names(children))
        ordered: list[_Folder] = []
        level = [(ROOT, 0)]
        # ECMA-119, section 6.9.1: order by level, by the number of the parent directory, by name.
        while level:
            below = []
            for path, above in level:
                entries = sorted(children[path], key=lambda entry: _identifier(entry, names))
                below += [(entry, len(ordered)) for entry in entries if entry in children]
                size = _folder_size(entries, lengths, names)
                ordered.append(_Folder(path, above, tuple(entries), size))
            level = below
        return cls(tuple(ordered), lengths, names)

    @property
    def size(self) -> int:
        """The size in bytes of path tables and directories, in whole sectors."""
        return 2 * self._table_room + sum(folder.size for folder in self.folders)

    def descriptor(self, *, start: int, volume_id: str, volume_size: int, timestamp: int) -> bytes:
        """Return the supplementary volume descriptor of a volume of `volume_size` bytes.

        `start` is the offset of the bytes of `record`, `timestamp` is in seconds since 1970, UTC.
        The volume id is cut to 16 characters.
        """
        name, owner = joliet_volume_id(volume_id), _text(OWNER, 128)
        date = f"{datetime.fromtimestamp(timestamp, UTC):%Y%m%d%H%M%S}00\0".encode()
        never = b"0" * 16 + b"\0"
        big_table = (start + self._table_room) // CD_SECTOR
        root, root_size = self._starts(start)[0], self.folders[0].size
        return _DESCRIPTOR.pack(
            *(2, b"CD001", 1, 0, _text(OWNER, 32), _text(name, 32)),
            *(_both32(volume_size // CD_SECTOR), _UCS2_LEVEL_3),
            *(_both16(1), _both16(1), _both16(CD_SECTOR), _both32(self._table_size)),
            *(start // CD_SECTOR, struct.pack(">I", big_table)),
            _record(_SELF, root, root_size, _stamp(timestamp), _DIRECTORY),
            *(_text(name, 128), owner, owner, owner, *[_text("", 37)] * 3),
            *(date, date, never, date, 1),
        )

    def record(self, *, start: int, offsets: Mapping[str, int], timestamp: int) -> bytes:
        """Return path tables and directories, `size` bytes for byte `start` of the image.

        `offsets` maps each file to the byte offset of its data, a multiple of 2048.
        """
        starts, stamp = self._starts(start), _stamp(timestamp)
        numbers = {folder.path: number for number, folder in enumerate(self.folders)}
        data = bytearray(self.size)

        def records(folder: _Folder) -> Iterator[bytes]:
            for identifier, number in ((_SELF, numbers[folder.path]), (_PARENT, folder.above)):
                size = self.folders[number].size
                yield _record(identifier, starts[number], size, stamp, _DIRECTORY)
            for path in folder.entries:
                identifier, below = _identifier(path, self.names), numbers.get(path)
                if below is None:
                    yield from _file_records(identifier, offsets[path], self.lengths[path], stamp)
                else:
                    size = self.folders[below].size
                    yield _record(identifier, starts[below], size, stamp, _DIRECTORY)

        for at, order in ((0, "<"), (self._table_room, ">")):
            data[at : at + self._table_size] = b"".join(self._path_table(starts, order))
        for folder, first in zip(self.folders, starts, strict=True):
            at = first - start
            for record in records(folder):
                at = _fitting(at, len(record))
                data[at : at + len(record)] = record
                at += len(record)
        return bytes(data)

    @property
    def _table_size(self) -> int:
        return sum(8 + align_up(len(self._own_identifier(folder)), 2) for folder in self.folders)

    @property
    def _table_room(self) -> int:
        return align_up(self._table_size, CD_SECTOR)

    def _own_identifier(self, folder: _Folder) -> bytes:
        return _identifier(folder.path, self.names) if folder.path else _SELF

    def _starts(self, start: int) -> list[int]:
        """Return the start offset of each directory in bytes."""
        sizes = [start + 2 * self._table_room, *(folder.size for folder in self.folders)]
        return list(accumulate(sizes))[:-1]

    def _path_table(self, starts: Sequence[int], order: str) -> Iterator[bytes]:
        for folder, start in zip(self.folders, starts, strict=True):
            identifier = self._own_identifier(folder)
            fields = (len(identifier), 0, start // CD_SECTOR, folder.above + 1)
            yield struct.pack(f"{order}BBIH", *fields) + identifier + bytes(len(identifier) % 2)


def _other_names(children: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    """Yield (path, new name) of the entries that must be renamed."""
    for entries in children.values():
        taken: set[str] = set()
        for path in entries:
            name = name_of(path)
            if not _is_plain(name) or folded(name) in taken:
                yield path, _shortened(name)
            taken.add(folded(name))


def _is_plain(name: str) -> bool:
    return (
        len(name.encode("utf-16-be")) <= 2 * LONGEST_NAME
        and name[-1] not in ". "
        and not _FORBIDDEN.search(name)
        and not _SHORTENED.search(name)
    )


def _shortened(name: str) -> str:
    tail = f"~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    start = _FORBIDDEN.sub("_", name).encode("utf-16-be")[: 2 * (LONGEST_NAME - len(tail))]
    # Drop half of a surrogate pair that the cut has split.
    return start.decode("utf-16-be", "ignore") + tail


def _identifier(path: str, names: Mapping[str, str]) -> bytes:
    return (names.get(path) or name_of(path)).encode("utf-16-be")


def _folder_size(
    entries: Iterable[str], lengths: Mapping[str, int], names: Mapping[str, str]
) -> int:
    end = 2 * _record_length(_SELF)
    for path in entries:
        length = _record_length(_identifier(path, names))
        for _ in _sections(lengths.get(path, 0)):
            end = _fitting(end, length) + length
    return align_up(end, CD_SECTOR)


def _fitting(at: int, length: int) -> int:
    """Return `at`, or the next sector if a record would cross into it (ECMA-119, 6.8.1.1)."""
    return at if at % CD_SECTOR + length <= CD_SECTOR else align_up(at, CD_SECTOR)


def _sections(length: int) -> range:
    """Return the start offsets of a file's sections; a record's length field has 32 bits."""
    return range(0, length or 1, RECORD_LIMIT)


def _file_records(identifier: bytes, place: int, length: int, stamp: bytes) -> Iterator[bytes]:
    for start in _sections(length):
        rest = length - start
        flags = _CONTINUED if rest > RECORD_LIMIT else 0
        yield _record(identifier, place + start, min(rest, RECORD_LIMIT), stamp, flags)


def _record_length(identifier: bytes) -> int:
    return align_up(_RECORD.size + len(identifier), 2)


def _record(identifier: bytes, place: int, length: int, stamp: bytes, flags: int) -> bytes:
    """Return the record of `length` bytes at byte `place`."""
    size = _record_length(identifier)
    place_and_length = (_both32(place // CD_SECTOR), _both32(length))
    fixed = _RECORD.pack(
        size, 0, *place_and_length, stamp, flags, 0, 0, _both16(1), len(identifier)
    )
    return (fixed + identifier).ljust(size, b"\0")


def _stamp(timestamp: int) -> bytes:
    """Return the date and time of a directory record (ECMA-119, section 9.1.5), in UTC."""
    at = datetime.fromtimestamp(timestamp, UTC)
    return bytes([at.year - 1900, at.month, at.day, at.hour, at.minute, at.second, 0])


def _text(text: str, size: int) -> bytes:
    """Return `text` padded with spaces to `size` bytes; an odd last byte is zero."""
    return text.ljust(size // 2).encode("utf-16-be").ljust(size, b"\0")


def _both16(value: int) -> bytes:
    return struct.pack("<H", value) + struct.pack(">H", value)


def _both32(value: int) -> bytes:
    return struct.pack("<I", value) + struct.pack(">I", value)
