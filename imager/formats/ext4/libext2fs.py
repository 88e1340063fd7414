"""Typed bindings for the libext2fs functions that lay out files; nothing else calls the library.

The library is part of e2fsprogs, so every machine with mkfs.ext4 has it. Structures are those of
ext2_fs.h and ext2fs.h on a little-endian 64-bit machine (x86-64, arm64). The internals of
`ext2_filsys` are never accessed; what the library has no function for (superblock bookkeeping)
is corrected in the closed file, by ext4_superblock.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_uint16, c_uint32, c_uint64, c_void_p
from pathlib import Path

from imager.formats.scratch_volume import BLOCK, BlockRun
from imager.support.errors import DependencyError

ROOT_INODE = 2
LOST_AND_FOUND_INODE = 11
EXTENTS_FLAG = 0x80000
_EXTRA_INODE_SIZE = 32
_OPEN_READ_WRITE_64BIT = 0x20001
_CLOSE_WITHOUT_FSYNC = 1
_FALLOCATE_FORCE_INIT = 2
_EXTENT_ROOT, _EXTENT_NEXT_LEAF, _EXTENT_IS_LEAF = 1, 7, 1
# ext2_err.et: error numbers count up from this base, in file order.
_ERROR_BASE = 2133571328
_NO_SPACE = frozenset(_ERROR_BASE + number for number in (38, 72, 73, 122))
_NO_NEXT_EXTENT = _ERROR_BASE + 124


class NoSpaceError(DependencyError):
    """libext2fs found no free block or inode."""


class Inode(ctypes.Structure):
    """`struct ext2_inode_large` (ext2_fs.h): the 128 bytes of ext2, then ext4's 32."""

    _fields_ = (
        ("i_mode", c_uint16),
        ("i_uid", c_uint16),
        ("i_size", c_uint32),
        ("i_atime", c_uint32),
        ("i_ctime", c_uint32),
        ("i_mtime", c_uint32),
        ("i_dtime", c_uint32),
        ("i_gid", c_uint16),
        ("i_links_count", c_uint16),
        ("i_blocks", c_uint32),
        ("i_flags", c_uint32),
        ("osd1", c_uint32),
        ("i_block", c_uint32 * 15),
        ("i_generation", c_uint32),
        ("i_file_acl", c_uint32),
        ("i_size_high", c_uint32),
        ("i_faddr", c_uint32),
        ("osd2", c_uint16 * 6),
        ("i_extra_isize", c_uint16),
        ("i_checksum_hi", c_uint16),
        ("i_ctime_extra", c_uint32),
        ("i_mtime_extra", c_uint32),
        ("i_atime_extra", c_uint32),
        ("i_crtime", c_uint32),
        ("i_crtime_extra", c_uint32),
        ("i_version_hi", c_uint32),
        ("i_projid", c_uint32),
    )

    @classmethod
    def of_extents(cls, mode: int) -> Inode:
        """Return a root-owned inode with an empty extent tree, size 0 and no links.

        Its i_block starts with an extent header: magic, 0 of at most 4 entries, depth 0.
        """
        inode = cls(i_mode=mode, i_flags=EXTENTS_FLAG, i_extra_isize=_EXTRA_INODE_SIZE)
        inode.i_block[0], inode.i_block[1] = 0xF30A, 4
        return inode

    def set_size(self, size: int) -> None:
        """Set the size in bytes."""
        self.i_size, self.i_size_high = size & 0xFFFFFFFF, size >> 32

    def set_times(self, timestamp: int) -> None:
        """Set all four times to `timestamp`, seconds since 1970, before the year 2446.

        The 32-bit fields are signed; bits 0 and 1 of the extra field extend the range.
        """
        epoch = (timestamp + 0x80000000) >> 32
        self.i_extra_isize = _EXTRA_INODE_SIZE
        for name in ("i_atime", "i_ctime", "i_mtime", "i_crtime"):
            setattr(self, name, timestamp & 0xFFFFFFFF)
            setattr(self, f"{name}_extra", epoch)


class _ExtentRecord(ctypes.Structure):
    """`struct ext2fs_extent` (ext2fs.h)."""

    _fields_ = (
        ("e_pblk", c_uint64),
        ("e_lblk", c_uint64),
        ("e_len", c_uint32),
        ("e_flags", c_uint32),
    )


_FS = c_void_p
_PROTOTYPES = {
    "ext2fs_open2": (
        *(c_char_p, c_char_p, c_int, c_int, ctypes.c_uint),
        *(c_void_p, POINTER(_FS)),
    ),
    "ext2fs_read_bitmaps": (_FS,),
    "ext2fs_new_inode": (_FS, c_uint32, c_int, c_void_p, POINTER(c_uint32)),
    "ext2fs_read_inode_full": (_FS, c_uint32, POINTER(Inode), c_int),
    "ext2fs_write_inode_full": (_FS, c_uint32, POINTER(Inode), c_int),
    "ext2fs_fallocate": (_FS, c_int, c_uint32, c_void_p, c_uint64, c_uint64, c_uint64),
    "ext2fs_write_dir_block4": (_FS, c_uint64, c_char_p, c_int, c_uint32),
    "ext2fs_extent_open": (_FS, c_uint32, POINTER(c_void_p)),
    "ext2fs_extent_get": (c_void_p, c_int, POINTER(_ExtentRecord)),
    "ext2fs_close2": (_FS, c_int),
}
_VOID_PROTOTYPES = {
    "ext2fs_inode_alloc_stats2": (_FS, c_uint32, c_int, c_int),
    "ext2fs_extent_free": (c_void_p,),
    "ext2fs_free": (_FS,),
    "initialize_ext2_error_table": (),
}


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libext2fs.so.2")
        for name, arguments in _PROTOTYPES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, c_long
        for name, arguments in _VOID_PROTOTYPES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
        library.error_message.argtypes, library.error_message.restype = (c_long,), c_char_p
        crc = library.ext2fs_crc32c_le
        crc.argtypes, crc.restype = (c_uint32, c_char_p, ctypes.c_size_t), c_uint32
    except (OSError, AttributeError) as error:
        raise DependencyError(
            f"cannot load libext2fs.so.2, which ext4 requires: {error}",
            hint="apt-get install e2fsprogs",
        ) from error
    library.initialize_ext2_error_table()
    return library


def library_version() -> str:
    """Return the version of libext2fs; raises DependencyError if it is missing."""
    found = c_char_p()
    _library().ext2fs_get_library_version(ctypes.byref(found), None)
    return (found.value or b"").decode("ascii", "replace")


def _call(name: str, *arguments: object) -> None:
    library = _library()
    code: int = getattr(library, name)(*arguments)
    if code == 0:
        return
    said = library.error_message(code).decode(errors="replace")
    kind = NoSpaceError if code in _NO_SPACE else DependencyError
    raise kind(f"libext2fs: {name} failed: {said}")


class FileSystem:
    """An ext4 file system in a file, opened for layout by `open_file_system`.

    Every method raises NoSpaceError if no block or inode is free, DependencyError otherwise.
    """

    def __init__(self, handle: c_void_p) -> None:
        self._handle = handle

    def new_inode(self, *, directory: bool) -> int:
        """Allocate the first free inode and return its number; its old contents remain."""
        number = c_uint32()
        _call("ext2fs_new_inode", self._handle, ROOT_INODE, 0, None, byref(number))
        _library().ext2fs_inode_alloc_stats2(self._handle, number, 1, int(directory))
        return number.value

    def read_inode(self, number: int) -> Inode:
        """Return inode `number`."""
        inode = Inode()
        _call("ext2fs_read_inode_full", self._handle, number, byref(inode), ctypes.sizeof(inode))
        return inode

    def write_inode(self, number: int, inode: Inode) -> None:
        """Write inode `number`."""
        _call("ext2fs_write_inode_full", self._handle, number, byref(inode), ctypes.sizeof(inode))

    def allocate(self, number: int, *, blocks: int, goal: int) -> None:
        """Allocate the first `blocks` blocks of inode `number`, initialised, from block `goal`.

        Nothing is written to the blocks. Blocks that the inode already has are kept.
        """
        flags = _FALLOCATE_FORCE_INIT
        _call("ext2fs_fallocate", self._handle, flags, number, None, goal, 0, blocks)

    def block_runs(self, number: int) -> list[BlockRun]:
        """Return the runs of blocks of inode `number`, in file order.

        The inode must have at least one block.
        """
        runs: list[BlockRun] = []
        handle, record = c_void_p(), _ExtentRecord()
        _call("ext2fs_extent_open", self._handle, number, byref(handle))
        try:
            _call("ext2fs_extent_get", handle, _EXTENT_ROOT, byref(record))
            if not record.e_flags & _EXTENT_IS_LEAF:
                _call("ext2fs_extent_get", handle, _EXTENT_NEXT_LEAF, byref(record))
            while True:
                runs.append(BlockRun(record.e_pblk, record.e_lblk, record.e_len))
                code = _library().ext2fs_extent_get(handle, _EXTENT_NEXT_LEAF, byref(record))
                if code == _NO_NEXT_EXTENT:
                    return runs
                if code:
                    raise DependencyError(f"libext2fs: inode {number}: bad extent tree ({code})")
        finally:
            _library().ext2fs_extent_free(handle)

    def write_directory_block(self, number: int, *, block: int, data: bytes) -> None:
        """Write a block of directory `number`, with its checksum, to block `block`."""
        buffer = ctypes.create_string_buffer(data, BLOCK)
        _call("ext2fs_write_dir_block4", self._handle, block, buffer, 0, number)


@contextmanager
def open_file_system(path: Path) -> Iterator[FileSystem]:
    """Open the ext4 file system in the file `path`; changes are written at the end of the block.

    If the block raises, they may be partly written: discard the file. Nothing is synced to the
    disk, since the file is only read back. Raises DependencyError.
    """
    handle = c_void_p()
    manager = c_void_p.in_dll(_library(), "unix_io_manager")
    flags = _OPEN_READ_WRITE_64BIT
    _call("ext2fs_open2", os.fsencode(path), None, flags, 0, 0, manager, byref(handle))
    try:
        _call("ext2fs_read_bitmaps", handle)
        yield FileSystem(handle)
    except BaseException:
        _library().ext2fs_free(handle)
        raise
    _call("ext2fs_close2", handle, _CLOSE_WITHOUT_FSYNC)


def crc32c(data: bytes, seed: int = 0xFFFFFFFF) -> int:
    """Return ext4's checksum of `data`: CRC-32C with initial value `seed`, not inverted.

    Raises DependencyError if libext2fs is missing.
    """
    checksum: int = _library().ext2fs_crc32c_le(seed, data, len(data))
    return checksum
