"""Breaks of what plans XFS volumes and disks of 4096-byte sectors."""

from __future__ import annotations

from tests.mutants.definitions import Mutant


def _mutant(what: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(what, f"imager/{file}", old, new, tuple(f"tests/{test}" for test in tests))


_PLANS = "unit/test_xfs.py"
_JUDGED = "oracle/test_xfs_oracle.py"

VOLUMES = (
    _mutant(
        "an XFS volume has features that GRUB does not know",
        "media/xfs.py",
        '((6, 10), "-i", "exchange=0"),',
        "",
        f"{_PLANS}::test_each_version_is_told_to_leave_out_what_it_knows",
    ),
    _mutant(
        "features that mkfs.xfs adds are not noticed",
        "media/xfs_inodes.py",
        "if features != _EXPECTED_FEATURES:",
        "if not features:",
        f"{_PLANS}::test_a_volume_of_other_features_is_refused",
    ),
    _mutant(
        "a time of an XFS inode is the clock's",
        "media/xfs_inodes.py",
        "for offset in _TIMES:",
        "for offset in _TIMES[:-1]:",
        f"{_JUDGED}::test_the_surroundings_do_not_matter",
    ),
    _mutant(
        "files on XFS read as zeros, being reserved only",
        "media/xfs_inodes.py",
        "_number(inode, offset, 16) & ~_UNWRITTEN",
        "_number(inode, offset, 16)",
        f"{_JUDGED}::test_files_are_written_and_not_reserved",
    ),
    _mutant(
        "allocation groups are taken for as large as their numbers are wide",
        "media/xfs_inodes.py",
        "return group * self.group_blocks + within",
        "return (group << self.group_blocks_log) + within",
        f"{_JUDGED}::test_every_file_is_read_by_grub",
    ),
    _mutant(
        "the second boot sector of FAT stands where it does with other sectors",
        "media/fat.py",
        "yield sector * geometry.sector_size, Content.of_bytes(boot)",
        "yield sector * 512, Content.of_bytes(boot)",
        "oracle/test_fat_oracle.py::test_undamaged_is_not_objected_to",
    ),
    _mutant(
        "the header of a GPT stands behind 512 bytes whatever the sectors are",
        "media/gpt.py",
        'Content.of_bytes(mbr.ljust(sector_size, b"\\0")',
        'Content.of_bytes(mbr.ljust(512, b"\\0")',
        "oracle/test_gpt_oracle.py::test_fdisk_reads_4096_byte_sectors",
    ),
)
