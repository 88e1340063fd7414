"""Breaks of what plans XFS volumes and disks of 4096-byte sectors."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_PLANS = "tests/unit/test_xfs.py"
_JUDGED = "tests/oracle/test_xfs_oracle.py"

MUTANTS = (
    Mutant(
        "an XFS volume has features that GRUB does not know",
        "imager/formats/xfs/plan.py",
        '((6, 10), "-i", "exchange=0"),',
        "",
        f"{_PLANS}::test_each_version_is_told_to_leave_out_what_it_knows",
    ),
    Mutant(
        "features that mkfs.xfs adds are not noticed",
        "imager/formats/xfs/inodes.py",
        "if features != _EXPECTED_FEATURES:",
        "if not features:",
        f"{_PLANS}::test_a_volume_of_other_features_is_refused",
    ),
    Mutant(
        "a time of an XFS inode is the clock's",
        "imager/formats/xfs/inodes.py",
        "for offset in _TIMES:",
        "for offset in _TIMES[:-1]:",
        f"{_JUDGED}::test_the_surroundings_do_not_matter",
    ),
    Mutant(
        "files on XFS read as zeros, being reserved only",
        "imager/formats/xfs/inodes.py",
        "_number(inode, offset, 16) & ~_UNWRITTEN",
        "_number(inode, offset, 16)",
        f"{_PLANS}::test_data_are_planned_from_where_they_lie",
    ),
    Mutant(
        "allocation groups are taken for as large as their numbers are wide",
        "imager/formats/xfs/inodes.py",
        "return group * self.group_blocks + within",
        "return (group << self.group_blocks_log) + within",
        f"{_JUDGED}::test_every_file_is_read_by_grub",
    ),
    Mutant(
        "the second boot sector of FAT stands where it does with other sectors",
        "imager/formats/fat/plan.py",
        "yield sector * geometry.sector_size, Content.of_bytes(boot)",
        "yield sector * 512, Content.of_bytes(boot)",
        "tests/oracle/test_fat_oracle.py::test_undamaged_is_not_objected_to",
    ),
    Mutant(
        "the header of a GPT stands behind 512 bytes whatever the sectors are",
        "imager/formats/gpt/table.py",
        'return sector.ljust(self.sector_size, b"\\0")',
        'return sector.ljust(512, b"\\0")',
        "tests/oracle/test_gpt_oracle.py::test_fdisk_reads_4096_byte_sectors",
    ),
)
