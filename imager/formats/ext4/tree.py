"""The names of an ext4 volume, and its directories as blocks.

Directories are linear (https://docs.kernel.org/filesystems/ext4/directory.html); packing whole
blocks takes time in proportion to the names, where linking one name after another would read
the directory again for each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imager.formats.scratch_volume import BLOCK
from imager.support.errors import InputError
from imager.support.units import align_up

LOST_AND_FOUND = "lost+found"
_NAME_MAX = 255
_HEADER = 8
# The last 12 bytes of a directory block: an entry of no file that holds the checksum.
_CHECKSUM_ENTRY = struct.pack("<IHHI", 0, 12, 0xDE00, 0)
_ENTRIES_END = BLOCK - len(_CHECKSUM_ENTRY)
_FILE_TYPE, _DIRECTORY_TYPE = 1, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory: `path` is what it names, from the root on."""

    name: bytes
    path: str
    directory: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """Files with their sizes in bytes, and directories with their entries, by path.

    The root is called "". Directories come in the order in which files name them, then those of no
    file, and parents come first.
    """

    files: dict[str, int]
    directories: dict[str, tuple[Entry, ...]]

    @classmethod
    def of(cls, files: Iterable[tuple[str, int]], folders: Iterable[str] = ()) -> Tree:
        """Return the tree of (path, size) and of `folders`, which need not hold a file.

        Raises InputError for unusable paths and for files that are there twice.
        """
        sizes: dict[str, int] = {}
        names: dict[str, list[Entry]] = {"": [_entry(LOST_AND_FOUND, directory=True)]}
        for path, size in files:
            _check_path(path)
            if path in sizes:
                raise InputError(f"ext4: two files are called {path!r}")
            sizes[path] = size
            _add_folder(names, parent(path))
            names[parent(path)].append(_entry(path, directory=False))
        for path in folders:
            _check_path(path)
            _add_folder(names, path)
        for path in sizes.keys() & names.keys():
            raise InputError(f"ext4: {path!r} is both a file and a folder")
        return cls(sizes, {path: tuple(entries) for path, entries in names.items()})

    def subdirectories(self, path: str) -> int:
        """Return how many directories are in directory `path`."""
        return sum(entry.directory for entry in self.directories[path])


def parent(path: str) -> str:
    """Return the directory that `path` is in; the root is its own parent."""
    return path.rpartition("/")[0]


def _add_folder(names: dict[str, list[Entry]], path: str) -> None:
    """Add the folder `path` and those above it, as far as they are missing."""
    missing = []
    while path not in names:
        missing.append(path)
        path = parent(path)
    for directory in reversed(missing):
        names[directory] = []
        names[parent(directory)].append(_entry(directory, directory=True))


def _entry(path: str, *, directory: bool) -> Entry:
    return Entry(path.rpartition("/")[2].encode(), path, directory)


def _check_path(path: str) -> None:
    parts = path.split("/")
    if "\0" in path or {"", ".", ".."}.intersection(parts):
        raise InputError(f"ext4: {path!r} is not a relative path of plain names")
    if parts[0] == LOST_AND_FOUND:
        raise InputError(f"ext4: {path!r}: {LOST_AND_FOUND} belongs to the file system")
    try:
        longest = max(len(part.encode()) for part in parts)
    except UnicodeEncodeError as error:
        raise InputError(f"ext4: {path!r} is not valid Unicode") from error
    if longest > _NAME_MAX:
        raise InputError(f"ext4: a name in {path!r} is longer than {_NAME_MAX} bytes")


def directory_block_count(entries: Sequence[Entry]) -> int:
    """Return how many blocks a directory with `entries` takes."""
    return sum(1 for _ in _packed(_with_dots("", entries)))


def directory_blocks(
    path: str, entries: Sequence[Entry], *, inodes: dict[str, int]
) -> Iterator[bytes]:
    """Yield the blocks of directory `path`, their checksums still zero.

    `inodes` has the inode number of every path in the tree.
    """
    for block in _packed(_with_dots(path, entries)):
        used = sum(_record_size(entry) for entry in block[:-1])
        sizes = [*map(_record_size, block[:-1]), _ENTRIES_END - used]
        records = (
            _record(entry, size, inodes[entry.path])
            for entry, size in zip(block, sizes, strict=True)
        )
        yield b"".join(records) + _CHECKSUM_ENTRY


def _with_dots(path: str, entries: Sequence[Entry]) -> Iterator[Entry]:
    yield Entry(b".", path, directory=True)
    yield Entry(b"..", parent(path), directory=True)
    yield from entries


def _packed(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield the entries in lists that fill a block each."""
    block: list[Entry] = []
    used = 0
    for entry in entries:
        size = _record_size(entry)
        if used + size > _ENTRIES_END:
            yield block
            block, used = [], 0
        block.append(entry)
        used += size
    yield block


def _record_size(entry: Entry) -> int:
    return align_up(_HEADER + len(entry.name), 4)


def _record(entry: Entry, size: int, inode: int) -> bytes:
    """Return `struct ext4_dir_entry_2`, `size` bytes long."""
    kind = _DIRECTORY_TYPE if entry.directory else _FILE_TYPE
    head = struct.pack("<IHBB", inode, size, len(entry.name), kind)
    return (head + entry.name).ljust(size, b"\0")
