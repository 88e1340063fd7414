"""The names of an ext4 volume, and its directories as blocks.

Directories are linear (https://docs.kernel.org/filesystems/ext4/directory.html). Packing whole
blocks takes linear time, whereas linking names one by one would read the directory again for each
name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imager.content.tree import ROOT, Tree, name_of, parent
from imager.formats.errors import ImpossibleNameError
from imager.formats.scratch_volume import BLOCK
from imager.support.units import align_up

LOST_AND_FOUND = "lost+found"
_NAME_MAX = 255
_HEADER = 8
# The last 12 bytes of a directory block: an unused entry that holds the checksum.
_CHECKSUM_ENTRY = struct.pack("<IHHI", 0, 12, 0xDE00, 0)
_ENTRIES_END = BLOCK - len(_CHECKSUM_ENTRY)
_FILE_TYPE, _DIRECTORY_TYPE = 1, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory; `path` is the full path from the root."""

    name: bytes
    path: str
    directory: bool


def directories_of(tree: Tree) -> dict[str, tuple[Entry, ...]]:
    """Return the entries of each directory of `tree` by its path, parents first."""
    found = {
        folder: tuple(Entry(name_of(path).encode(), path, path in tree.entries) for path in paths)
        for folder, paths in tree.entries.items()
    }
    own = Entry(LOST_AND_FOUND.encode(), LOST_AND_FOUND, directory=True)
    return {**found, ROOT: (own, *found[ROOT])}


def check_names(tree: Tree) -> None:
    """Raise InputError for a name that is invalid in ext4 or reserved."""
    if LOST_AND_FOUND in tree.entries[ROOT]:
        raise ImpossibleNameError(f"ext4: the name {LOST_AND_FOUND!r} is reserved")
    for path in (path for paths in tree.entries.values() for path in paths):
        try:
            length = len(name_of(path).encode())
        except UnicodeEncodeError as error:
            raise ImpossibleNameError(f"ext4: {path!r} is not valid Unicode") from error
        if length > _NAME_MAX:
            raise ImpossibleNameError(f"ext4: a name in {path!r} is longer than {_NAME_MAX} bytes")


def directory_block_count(entries: Sequence[Entry]) -> int:
    """Return the number of blocks of a directory with `entries`."""
    return sum(1 for _ in _packed(_with_dots("", entries)))


def directory_blocks(
    path: str, entries: Sequence[Entry], *, inodes: dict[str, int]
) -> Iterator[bytes]:
    """Yield the blocks of directory `path`, with zero checksums.

    `inodes` maps every path in the tree to its inode number.
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
    """Yield the entries grouped by block."""
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
    """Return a `struct ext4_dir_entry_2` of `size` bytes."""
    kind = _DIRECTORY_TYPE if entry.directory else _FILE_TYPE
    head = struct.pack("<IHBB", inode, size, len(entry.name), kind)
    return (head + entry.name).ljust(size, b"\0")
