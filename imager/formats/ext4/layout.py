"""Lay out an ext4 volume in a sparse scratch file: everything except file data.

mkfs.ext4 creates an empty file system; libext2fs allocates an inode and blocks for every file, but
does not write to those blocks. Everything that could differ between two machines is pinned: the
features, the ids, the times, and mkfs.ext4's configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from imager.content.tree import Tree
from imager.formats.errors import VolumeTooSmallError
from imager.formats.ext4.directories import (
    LOST_AND_FOUND,
    directories_of,
    directory_block_count,
    directory_blocks,
)
from imager.formats.ext4.libext2fs import (
    LOST_AND_FOUND_INODE,
    ROOT_INODE,
    FileSystem,
    Inode,
    NoSpaceError,
    open_file_system,
)
from imager.formats.ext4.superblock import free_blocks, make_ext4
from imager.formats.scratch_volume import BLOCK, BlockRun
from imager.support.units import KIB, MIB, align_up, format_size

_FEATURES = (
    "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,"
    "huge_file,dir_nlink,extra_isize,metadata_csum"
)
# mkfs.ext4 requires a description of its file system type, but accepts an empty one.
_MKE2FS_CONFIG = """\
[defaults]
\tdefault_mntopts = acl,user_xattr
\tenable_periodic_fsck = 0
[fs_types]
\text4 = {
\t\tinode_size = 256
\t}
"""
_GROUP_BLOCKS = 32768
_INODES_PER_BLOCK = 16
_BYTES_PER_INODE = 128 * KIB
_SPARE_INODES = 64
_LEAST_INODES = 256
# The blocks of a volume of few groups besides inode tables and journal: superblock, descriptors,
# bitmaps, the first folders. Twice the measured number.
_FIXED_BLOCKS = 64
_FILE_MODE, _DIRECTORY_MODE = 0o100644, 0o040755
_LINK_MAX = 65000


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """Options of mkfs.ext4: `size` in bytes, `timestamp` in seconds since 1970."""

    size: int
    label: str
    uuid: UUID
    timestamp: int


def lay_out(tree: Tree, volume: VolumeOptions, path: Path) -> list[tuple[BlockRun, ...]]:
    """Create a volume with `tree` in the sparse file `path`; return each file's runs of blocks.

    Leaves a configuration file next to it. Raises VolumeTooSmallError if the tree does not fit,
    HostError if the scratch disk cannot hold a sparse file of that size, DependencyError if
    mkfs.ext4 or libext2fs is missing or fails.
    """
    _make_empty(tree, volume, path)
    missing = needed_blocks(tree) - free_blocks(path)
    if missing > 0:
        raise _full(volume, f"at least {format_size(missing * BLOCK)} more are needed")
    try:
        with open_file_system(path) as file_system:
            return _Layout(file_system, tree, volume.timestamp).create()
    except NoSpaceError as error:
        raise _full(volume, error.message) from error


def estimate_size(tree: Tree) -> int:
    """Return the approximate size in bytes of the smallest volume for `tree`."""
    needed = needed_blocks(tree) + _FIXED_BLOCKS
    size = needed * BLOCK
    for _ in range(3):
        groups = -(-size // (_GROUP_BLOCKS * BLOCK))
        tables = _inode_count(tree, size) // _INODES_PER_BLOCK
        overhead = 2 * groups + tables + _journal_mib(size) * MIB // BLOCK
        size = (needed + overhead) * BLOCK
    return align_up(size, MIB)


def _full(volume: VolumeOptions, reason: str) -> VolumeTooSmallError:
    return VolumeTooSmallError(
        f"the files do not fit in an ext4 volume of {format_size(volume.size)}: {reason}",
        hint="make the volume larger",
    )


def needed_blocks(tree: Tree) -> int:
    """Return the minimum number of blocks for the tree, without extent tree blocks."""
    directories = sum(map(directory_block_count, directories_of(tree).values()))
    # The root already has its first block.
    return directories - 1 + sum(-(-file.content.size // BLOCK) for file in tree.files)


def _inode_count(tree: Tree, size: int) -> int:
    """Return the number of inodes: for `tree`, and spare ones for new files in a large volume."""
    wanted = len(tree.files) + len(tree.entries) + _SPARE_INODES
    return max(wanted, _LEAST_INODES, size // _BYTES_PER_INODE)


def _journal_mib(size: int) -> int:
    """Return the journal size in MiB: 8, less for volumes below 32 MiB, at least 4 (mkfs.ext4).

    It grows more slowly than the volume, so that a larger volume never holds less.
    """
    return min(max(size // (4 * MIB), 4), 8)


def _make_empty(tree: Tree, volume: VolumeOptions, path: Path) -> None:
    inodes = _inode_count(tree, volume.size)
    journal = _journal_mib(volume.size)
    left = volume.size // BLOCK - inodes // _INODES_PER_BLOCK - _FIXED_BLOCKS
    # mkfs.ext4 rejects a journal that takes more than half of the volume.
    if left * BLOCK < 2 * journal * MIB:
        raise _full(volume, "this is too small for the file system's own structures")
    extended = f"hash_seed={volume.uuid},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"
    options = [
        *("-g", str(_GROUP_BLOCKS), "-I", "256", "-G", "16", "-m", "0", "-e", "continue"),
        *("-N", str(inodes), "-J", f"size={journal}", "-O", _FEATURES, "-E", extended),
        *("-U", str(volume.uuid), "-L", volume.label),
    ]
    make_ext4(path, volume.size, options, config=_MKE2FS_CONFIG, timestamp=volume.timestamp)


class _Layout:
    """Creates the files and directories of `tree` in an empty, open file system."""

    def __init__(self, file_system: FileSystem, tree: Tree, timestamp: int) -> None:
        self._fs = file_system
        self._files = tree.files
        self._directories = directories_of(tree)
        self._timestamp = timestamp
        self._inodes = {"": ROOT_INODE, LOST_AND_FOUND: LOST_AND_FOUND_INODE}

    def create(self) -> list[tuple[BlockRun, ...]]:
        """Create directories, then files, in order; return each file's runs of blocks."""
        for path in self._directories:
            if path:
                self._inodes[path] = self._fs.new_inode(directory=True)
        for file in self._files:
            self._inodes[file.path] = self._fs.new_inode(directory=False)
        self._renew_lost_and_found()
        for path in self._directories:
            self._create_directory(path)
        return list(self._create_files())

    def _renew_lost_and_found(self) -> None:
        inode = self._fs.read_inode(LOST_AND_FOUND_INODE)
        inode.set_times(self._timestamp)
        self._fs.write_inode(LOST_AND_FOUND_INODE, inode)

    def _create_directory(self, path: str) -> None:
        number, entries = self._inodes[path], self._directories[path]
        blocks = list(directory_blocks(path, entries, inodes=self._inodes))
        inode = Inode.of_extents(_DIRECTORY_MODE) if path else self._fs.read_inode(ROOT_INODE)
        links = 2 + sum(entry.directory for entry in entries)
        # With dir_nlink, a link count of 1 means too many to count.
        inode.i_links_count = links if links < _LINK_MAX else 1
        inode.set_size(len(blocks) * BLOCK)
        runs = self._store(number, inode, blocks=len(blocks), goal=0)
        places = (run.physical + index for run in runs for index in range(run.count))
        for place, block in zip(places, blocks, strict=True):
            self._fs.write_directory_block(number, block=place, data=block)

    def _create_files(self) -> Iterator[tuple[BlockRun, ...]]:
        goal = 0
        for file in self._files:
            size = file.content.size
            inode = Inode.of_extents(_FILE_MODE)
            inode.i_links_count = 1
            inode.set_size(size)
            runs = self._store(self._inodes[file.path], inode, blocks=-(-size // BLOCK), goal=goal)
            goal = runs[-1].physical + runs[-1].count if runs else goal
            yield runs

    def _store(self, number: int, inode: Inode, *, blocks: int, goal: int) -> tuple[BlockRun, ...]:
        inode.set_times(self._timestamp)
        self._fs.write_inode(number, inode)
        if blocks == 0:
            return ()
        self._fs.allocate(number, blocks=blocks, goal=goal)
        return tuple(self._fs.block_runs(number))
