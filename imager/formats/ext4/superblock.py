"""Read and correct the superblocks of a closed ext4 file system.

Fields: `struct ext2_super_block` of e2fsprogs' ext2_fs.h,
https://docs.kernel.org/filesystems/ext4/super.html.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

from imager.formats.ext4.groups import CHECKSUM, LENGTH, START, is_backup_group, u32
from imager.formats.ext4.libext2fs import crc32c
from imager.formats.scratch_volume import BLOCK, make_sparse
from imager.support.tools import run_tool

_BLOCKS_COUNT = (0x04, 0x150)
_FREE_BLOCKS_COUNT = (0x0C, 0x158)
_BLOCKS_PER_GROUP = 0x20
_FLAGS = 0x160
_SIGNED_HASH = 1
_KBYTES_WRITTEN = 0x178
# Offsets of the low 32 bits and high 8 bits of the times: written, checked, created.
_TIMES = ((0x30, 0x274), (0x40, 0x277), (0x108, 0x276))


def make_ext4(
    path: Path, size: int, options: Sequence[str], *, config: str, timestamp: int = 0
) -> None:
    """Run mkfs.ext4 on the new sparse file `path`, with `config` as its mke2fs.conf(5).

    Its clock is at `timestamp`; 0 is the real time.
    Leaves the configuration file next to it. Raises HostError if the disk lacks sparse files,
    DependencyError if mkfs.ext4 is missing or fails.
    """
    make_sparse(path, size)
    configuration = path.with_suffix(".conf")
    configuration.write_text(config, encoding="ascii")
    run_tool(
        ["mkfs.ext4", "-q", "-F", "-b", str(BLOCK), *options, path, str(size // BLOCK)],
        package="e2fsprogs",
        env={"MKE2FS_CONFIG": os.fspath(configuration), "E2FSPROGS_FAKE_TIME": str(timestamp)},
    )


def free_blocks(path: Path) -> int:
    """Return the number of free blocks in the file system in the file `path`."""
    with path.open("rb") as file:
        file.seek(START)
        return _count(file.read(LENGTH), _FREE_BLOCKS_COUNT)


def normalize_superblocks(path: Path, timestamp: int) -> None:
    """Remove everything machine-dependent from every superblock in the file `path`.

    The time of the last write is the clock's (libext2fs could take it only from this process's
    environment), the amount written depends on the scratch disk, and s_flags on the signedness of
    char. These fields and the other times, including their high bytes, are set here; then the
    checksums are updated.
    """
    with path.open("r+b") as file:
        file.seek(START)
        main = file.read(LENGTH)
        per_group = u32(main, _BLOCKS_PER_GROUP)
        groups = -(-_count(main, _BLOCKS_COUNT) // per_group)
        backups = (each * per_group * BLOCK for each in range(1, groups) if is_backup_group(each))
        for offset in (START, *backups):
            file.seek(offset)
            mended = _normalized(file.read(LENGTH), timestamp)
            file.seek(offset)
            file.write(mended)


def _count(superblock: bytes, fields: tuple[int, int]) -> int:
    low, high = fields
    return u32(superblock, low) | u32(superblock, high) << 32


def _normalized(superblock: bytes, timestamp: int) -> bytes:
    mended = bytearray(superblock)
    for low, high in _TIMES:
        struct.pack_into("<I", mended, low, timestamp & 0xFFFFFFFF)
        mended[high] = timestamp >> 32
    struct.pack_into("<I", mended, _FLAGS, _SIGNED_HASH)
    struct.pack_into("<Q", mended, _KBYTES_WRITTEN, 0)
    struct.pack_into("<I", mended, CHECKSUM, crc32c(bytes(mended[:CHECKSUM])))
    return bytes(mended)
