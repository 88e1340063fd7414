"""Breaks of the ISO's Joliet names, of USB sticks, and of what the witness sees of them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_JOLIET = "tests/unit/test_joliet.py"
_USB = "tests/oracle/test_output_usb.py"

MUTANTS = (
    Mutant(
        "a Joliet record crosses a sector",
        "imager/formats/iso9660/joliet.py",
        "return at if at % CD_SECTOR + length <= CD_SECTOR else align_up(at, CD_SECTOR)",
        "return at",
        f"{_JOLIET}::test_many_files_fill_sectors",
    ),
    Mutant(
        "the sections of a large file are files of their own by Joliet",
        "imager/formats/iso9660/joliet.py",
        "flags = _CONTINUED if rest > RECORD_LIMIT else 0",
        "flags = 0",
        f"{_JOLIET}::test_files_above_4_gib_have_several_records",
    ),
    Mutant(
        "names that differ in case alone stay on Windows",
        "imager/formats/iso9660/joliet.py",
        "if not _is_plain(name) or folded(name) in taken:",
        "if not _is_plain(name):",
        f"{_JOLIET}::test_names_that_differ_in_case_alone_are_told_apart",
    ),
    Mutant(
        "another supplementary descriptor stands before Joliet's",
        "imager/formats/iso9660/metadata.py",
        "self._iso.svds = [self._supplementary]",
        "self._iso.svds.append(self._supplementary)\n        self._iso.pvd.space_size += 1",
        f"{_JOLIET}::test_descriptors_stand_in_the_order_of_readers",
    ),
    Mutant(
        "the data of a FAT volume are in the order of their names",
        "imager/formats/fat/plan.py",
        "    for file in files:\n        if file.content.size:",
        "    for file in sorted(files, key=lambda file: file.path):\n        if file.content.size:",
        "tests/unit/test_fat.py::test_data_stand_in_the_callers_order_and_records_do_not",
    ),
    Mutant(
        "a blob that is too large for FAT is not named",
        "imager/image/cache_files.py",
        "if file.content.size > LARGEST_FILE",
        "if file.content.size > LARGEST_FILE + 1",
        f"{_USB}::test_a_blob_that_fat_cannot_hold",
    ),
    Mutant(
        "Windows hides the stick's volume",
        "imager/image/usb.py",
        "Partition(LABEL, BASIC_DATA, ",
        "Partition(LABEL, derived_uuid(_DISK), ",
        f"{_USB}::test_one_partition_that_windows_mounts",
    ),
    Mutant(
        "the witness goes by the old label of a volume that was renamed",
        "imager/distro/witness/volume",
        '[ -n "$label" ] || label=',
        "label=",
        "tests/oracle/test_witness_volume.py::test_the_root_counts_and_not_its_copy",
    ),
)
