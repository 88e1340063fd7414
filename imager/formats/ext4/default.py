"""Compute the size of an ext4 volume that someone else formats with mkfs.ext4's defaults.

mke2fs.conf(5). Such a volume has an inode for every 16 KiB, a journal of up to 1 GiB and blocks
reserved for growth, unlike the volumes planned here. mkfs.ext4 itself determines the free space.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from imager.content.tree import Tree
from imager.formats.ext4.layout import needed_blocks
from imager.formats.ext4.plan import smallest
from imager.formats.ext4.superblock import free_blocks, make_ext4
from imager.formats.scratch_volume import BLOCK
from imager.support.units import GIB, MIB, align_up

# The defaults of e2fsprogs, but with 4 KiB blocks also for small volumes.
_CONFIG = """\
[defaults]
\tbase_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
\tblocksize = 4096
\tinode_size = 256
\tinode_ratio = 16384
[fs_types]
\text4 = {
\t\tfeatures = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
\t}
\tsmall = {
\t\tinode_ratio = 4096
\t}
"""
# For blocks of extent trees, and the orphan file of later versions (at most 512 blocks).
_SPARE_BLOCKS = 1024
# ext2fs_get_journal_params of libext2fs: (volume smaller than this, journal size in MiB).
_JOURNALS = (
    (GIB // 8, 4),
    (GIB, 16),
    (2 * GIB, 32),
    (16 * GIB, 64),
    (32 * GIB, 128),
    (64 * GIB, 256),
    (128 * GIB, 512),
)
_LARGEST_JOURNAL = 1024
_LEAST = 32 * MIB


def minimum_default_ext4_size(tree: Tree, *, scratch: Path) -> int:
    """Return the size in bytes, a multiple of 1 MiB, from which on every volume holds `tree`.

    Assumes that root writes the files, since only root may use the reserved blocks. `scratch` is
    an existing folder on a disk with sparse files. Raises HostError if the disk lacks them,
    DependencyError if mkfs.ext4 is missing or fails.
    """
    needed = needed_blocks(tree) + _SPARE_BLOCKS
    low = max(align_up(needed * BLOCK, MIB), _LEAST)

    def fits(mebibytes: int) -> bool:
        if mebibytes * MIB < low:
            return False
        with tempfile.TemporaryDirectory(dir=scratch, prefix="ext4-") as folder:
            path = Path(folder, "volume")
            make_ext4(path, mebibytes * MIB, _journal(mebibytes * MIB), config=_CONFIG)
            return free_blocks(path) >= needed

    return smallest(fits, guess=(low + low // 32) // MIB) * MIB


def _journal(size: int) -> list[str]:
    """Return the journal of a 25% larger volume, so that such a volume fits the tree too."""
    larger = size + size // 4
    mebibytes = next((mib for limit, mib in _JOURNALS if larger < limit), _LARGEST_JOURNAL)
    return ["-J", f"size={mebibytes}"]
