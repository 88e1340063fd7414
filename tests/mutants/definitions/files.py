"""Breaks of what lists, extracts, verifies and compares files of images."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_UNIT = "tests/unit/test_files.py"
_FILES = "tests/oracle/test_files_oracle.py"
_VERIFY = "tests/oracle/test_verify_oracle.py"
_SQUASHFS = "tests/oracle/test_squashfs_oracle.py"
_DIFF = "tests/oracle/test_diff_oracle.py"

MUTANTS = (
    Mutant(
        "a link may have .. behind the name of another link",
        "imager/image/inspect/extract.py",
        'return ups <= link.path.count("/") and ".." not in parts[ups:]',
        'return ups <= link.path.count("/")',
        f"{_UNIT}::test_links_that_may_lead_out",
    ),
    Mutant(
        "links that lead out of the folder are written",
        "imager/image/inspect/extract.py",
        "if isinstance(node, Link) and stays_inside(node)]",
        "if isinstance(node, Link)]",
        f"{_UNIT}::test_a_folder_is_extracted_without_what_leads_out",
    ),
    Mutant(
        "an existing file is replaced without --force",
        "imager/image/inspect/extract.py",
        "clobber=force",
        "clobber=True",
        f"{_UNIT}::test_nothing_is_replaced_unless_forced",
    ),
    Mutant(
        "the first of the archives of an initramfs counts",
        "imager/image/inspect/inside.py",
        "last |= {node.path: (number, node) for node in (*tree.files, *tree.nodes)}",
        "last = {n.path: (number, n) for n in (*tree.files, *tree.nodes)} | last",
        f"{_FILES}::test_files_of_images_are_those_of_tar",
    ),
    Mutant(
        "headers of groups of XFS are not verified",
        "imager/image/inspect/verify.py",
        'if volume.file_system.kind == "xfs":',
        'if volume.file_system.kind == "-":',
        f"{_VERIFY}::test_every_damage_of_a_disk_is_found",
    ),
    Mutant(
        "checksums of XFS are not compared",
        "imager/formats/xfs/geometry.py",
        "if not self.has_sums:",
        "if self.has_sums:",
        f"{_VERIFY}::test_every_damage_of_a_disk_is_found",
    ),
    Mutant(
        "compressed files are not decompressed",
        "imager/image/inspect/verify_streams.py",
        "for each in _compressed(file):",
        "for each in ():",
        f"{_VERIFY}::test_every_damage_of_a_disk_is_found",
    ),
    Mutant(
        "blocks of squashfs images are not decompressed",
        "imager/image/inspect/verify_streams.py",
        "for block, need in blocks:",
        "for block, need in ():",
        f"{_SQUASHFS}::test_damage_and_differences_are_named_by_file",
    ),
    Mutant(
        "squashfs images in an initramfs are not verified",
        "imager/image/inspect/verify_streams.py",
        "for image in _squashfs_images(tree):",
        "for image in ():",
        f"{_SQUASHFS}::test_damage_and_differences_are_named_by_file",
    ),
    Mutant(
        "files of squashfs images that are files are not compared",
        "imager/image/inspect/diff_files.py",
        "if trees[0] is not None and trees[1] is not None:",
        "if ():",
        f"{_SQUASHFS}::test_damage_and_differences_are_named_by_file",
    ),
    Mutant(
        "a checksum of another file is taken",
        "imager/image/inspect/against.py",
        'if subject.rpartition("/")[2] == name}',
        "}",
        f"{_VERIFY}::test_a_file_is_what_a_checksum_file_says",
    ),
    Mutant(
        "the first byte that differs is off",
        "imager/content/compare.py",
        "return position + found",
        "return position",
        f"{_DIFF}::test_a_byte_that_means_nothing_is_found_last",
    ),
    Mutant(
        "images that differ give exit code 0",
        "imager/cli/options.py",
        "DIFFERENT = 1",
        "DIFFERENT = 0",
        f"{_DIFF}::test_what_differs_is_said_by_its_meaning",
    ),
)
