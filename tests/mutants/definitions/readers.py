"""Breaks of what reads foreign volumes, and the cache inside of images."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_FOREIGN = "tests/unit/test_foreign.py"
_EXT4 = "tests/oracle/test_ext4_read.py"
_SQUASHFS = "tests/oracle/test_squashfs_oracle.py"
_ISO = "tests/unit/test_iso9660_read.py"
_IMAGES = "tests/unit/test_image_volumes.py"

MUTANTS = (
    Mutant(
        "what a file has outside of its volume is read",
        "imager/formats/volume_reader.py",
        "self._check(run.place, run.length)",
        "self._check(0, run.length)",
        f"{_FOREIGN}::test_runs_that_leave_the_volume_or_cross",
    ),
    Mutant(
        "the end of a squashfs file is that of another",
        "imager/formats/squashfs_read.py",
        "replace(block, offset=skip) if skip else block",
        "block",
        f"{_SQUASHFS}::test_files_are_those_of_unsquashfs",
    ),
    Mutant(
        "a block may decompress to any size",
        "imager/content/blocks.py",
        "if len(data) > most:",
        "if ():",
        "tests/unit/test_blocks.py::test_blocks_are_whole_or_refused",
    ),
    Mutant(
        "folders may contain each other",
        "imager/formats/volume_reader.py",
        "elif entry.place in seen:",
        "elif entry.place in ():",
        f"{_FOREIGN}::test_folders_that_contain_each_other",
    ),
    Mutant(
        "names lead out of their folder",
        "imager/formats/volume_reader.py",
        'if name in ("", ".", "..") or "/" in name or "\\0" in name:',
        'if name in ("", ".", ".."):',
        f"{_FOREIGN}::test_impossible_names",
    ),
    Mutant(
        "blocks that are only reserved are read",
        "imager/formats/ext4/read.py",
        "if not reserved:",
        "if count:",
        f"{_EXT4}::test_extents_of_every_kind",
    ),
    Mutant(
        "a node of an extent tree may be of any depth",
        "imager/formats/ext4/read.py",
        "if own > _DEEPEST or depth not in (None, own):",
        "if own > _DEEPEST:",
        f"{_EXT4}::test_extent_trees_that_lead_back",
    ),
    Mutant(
        "a journal that is to be replayed is passed over",
        "imager/formats/ext4/groups.py",
        "if incompat & _NEEDS_RECOVERY:",
        "if incompat & _NEEDS_RECOVERY & 0:",
        f"{_EXT4}::test_volumes_in_use_are_to_be_repaired",
    ),
    Mutant(
        "checksums of inodes do not count",
        "imager/formats/ext4/read.py",
        "if crc32c(bytes(plain), seed) & mask != found:",
        "if not mask:",
        f"{_EXT4}::test_each_checksum_counts",
    ),
    Mutant(
        "a record goes on for ever",
        "imager/formats/iso9660/rockridge.py",
        "for _ in range(_MOST_CONTINUATIONS):",
        "for _ in iter(int, 1):",
        f"{_ISO}::test_hostile_records",
    ),
    Mutant(
        "a file of several sections is its last one",
        "imager/formats/iso9660/read.py",
        "begun.append(record)",
        "begun = [record]",
        f"{_ISO}::test_files_in_several_sections",
    ),
    Mutant(
        "long names of others count on FAT",
        "imager/formats/fat/names.py",
        "or any(each[13] != check for each in records)",
        "or check < 0",
        "tests/oracle/test_fat_foreign.py::test_names_as_windows_keeps_them",
    ),
    Mutant(
        "the ISO comes before the partition",
        "imager/cache/volumes.py",
        "if part.label == IMAGE_CACHE and is_ext4(",
        "if not is_iso9660(head) and part.label == IMAGE_CACHE and is_ext4(",
        f"{_IMAGES}::test_the_partition_comes_before_the_iso",
    ),
    Mutant(
        "a tar with an image in it is taken for one",
        "imager/cache/volumes.py",
        "if _is_tar(head):",
        "if not head:",
        f"{_IMAGES}::test_a_tar_with_images_in_it_stays_a_tar",
    ),
    Mutant(
        "a blob in pieces is checked by its first one",
        "imager/content/digests.py",
        "case (Extent(0, self.content.size, FileRange() | StreamRange() as source),):",
        "case (Extent(0, _, FileRange() | StreamRange() as source), *_):",
        f"{_IMAGES}::test_a_blob_in_pieces_is_checked_as_one",
    ),
)
