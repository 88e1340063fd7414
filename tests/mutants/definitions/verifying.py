"""Breaks of what finds the volumes of an image that firmware boots from."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_TABLES = "tests/oracle/test_gpt_foreign.py"
_GPT = "tests/unit/test_gpt.py"
_VERIFIED = "tests/oracle/test_verify_foreign.py"
_CATALOGS = "tests/unit/test_eltorito.py"

MUTANTS = (
    Mutant(
        "a table has 128 entries",
        "imager/formats/gpt/read.py",
        "entries = _read_at(disk, header.array * sector_size, header.entry_count * size)",
        "entries = _read_at(disk, header.array * sector_size, 128 * size)",
        f"{_TABLES}::test_xorrisos_table_is_read",
    ),
    Mutant(
        "the number of entries has no limit",
        "imager/formats/gpt/read.py",
        "if not 1 <= header.entry_count <= _LARGEST_ARRAY // size:",
        "if not header.entry_count:",
        f"{_GPT}::test_shapes_are_bounded",
    ),
    Mutant(
        "the primary array is written behind its header",
        "imager/formats/gpt/edit.py",
        "if table.array != ARRAY:",
        "if not table:",
        f"{_TABLES}::test_a_larger_disk_is_used_and_an_entry_added[a primary array that was moved]",
    ),
    Mutant(
        "longer headers are cut off",
        "imager/formats/gpt/read.py",
        "return _Copy(header, raw[HEADER_SIZE:], entries)",
        'return _Copy(header, b"", entries)',
        f"{_GPT}::test_larger_entries_and_headers_are_read",
    ),
    Mutant(
        "partitions of an image are counted, not numbered",
        "imager/formats/partitions.py",
        "for number, each in table.partitions.items()",
        "for number, each in enumerate(table.partitions.values(), start=1)",
        f"{_TABLES}::test_partitions_of_an_image_have_the_numbers_of_their_entries",
    ),
    Mutant(
        "a backup table may be inside of a partition",
        "imager/formats/gpt/read.py",
        "if any(part.end > start for part in",
        "if any(part.end < 0 for part in",
        "tests/unit/test_gpt_edit.py::test_a_backup_inside_a_partition_does_not_count",
    ),
    Mutant(
        "systemd-boot has the version of a stub",
        "imager/efi/systemd.py",
        "if found and found[1].decode() == part",
        "if found",
        "tests/unit/test_uki.py::test_the_stub_says_its_version",
    ),
    Mutant(
        "an MBR has no EFI system partition",
        "imager/formats/partitions.py",
        "kind == _ESP",
        "kind == 0",
        f"{_VERIFIED}::test_sticks_with_an_mbr",
    ),
    Mutant(
        "El Torito is not looked at",
        "imager/image/bootvolumes.py",
        "            yield from self._boot_images()",
        "            yield from ()",
        f"{_VERIFIED}::test_isos[from genisoimage]",
    ),
    Mutant(
        "an entry that does not boot is taken",
        "imager/formats/eltorito.py",
        "if indicator == _BOOTABLE:",
        "if indicator >= 0:",
        f"{_CATALOGS}::test_catalogs",
    ),
    Mutant(
        "the checksum of a boot catalog does not count",
        "imager/formats/eltorito.py",
        "and sum(words) & 0xFFFF == 0",
        "and sum(words) >= 0",
        f"{_CATALOGS}::test_damaged_catalogs",
    ),
    Mutant(
        "what only the tree of an ISO has is passed over",
        "imager/image/bootvolumes.py",
        "        if files:",
        "        if not files:",
        f"{_VERIFIED}::test_isos[as Talos makes it]",
    ),
    Mutant(
        "allocation tables may differ",
        "imager/image/bootvolumes.py",
        "if fat_tables_agree(",
        "if place or fat_tables_agree(",
        f"{_VERIFIED}::test_tables_that_differ[16]",
    ),
    Mutant(
        "a loader of zeros is passed over",
        "imager/image/inspect_secureboot.py",
        "name.lower().endswith(_EFI) or",
        "not name or",
        f"{_VERIFIED}::test_a_loader_of_zeros_is_not_passed_over",
    ),
)
