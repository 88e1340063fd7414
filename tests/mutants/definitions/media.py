"""Breaks of partition tables, volumes, ISOs and boot files."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_GPT = "tests/unit/test_gpt.py"
_FAT = "tests/unit/test_fat.py"
_EXT4 = "tests/unit/test_ext4.py"
_ISO9660 = "tests/unit/test_iso9660.py"

MUTANTS = (
    Mutant(
        "a partition ends a sector late",
        "imager/formats/gpt/entries.py",
        "record.last_lba = part.end // sector_size - 1",
        "record.last_lba = part.end // sector_size",
        f"{_GPT}::test_structures_are_those_of_the_specification",
    ),
    Mutant(
        "the checksum of a GPT header is not compared",
        "imager/formats/gpt/read.py",
        "if binascii.crc32(raw[:16] + bytes(4) + raw[20:]) != header.crc:",
        "if header.crc < 0:",
        f"{_GPT}::test_damage_is_found",
    ),
    Mutant(
        "the backup array stands a sector off",
        "imager/formats/gpt/table.py",
        "self._header(self._last, 1, self.backup_offset // self.sector_size)",
        "self._header(self._last, 1, self.backup_offset // self.sector_size - 1)",
        f"{_GPT}::test_structures_are_those_of_the_specification",
    ),
    Mutant(
        "files on FAT are not aligned for their ISO names",
        "imager/formats/fat/plan.py",
        "_FILE_ALIGNMENT = CD_SECTOR",
        "_FILE_ALIGNMENT = 512",
        f"{_FAT}::test_files_are_aligned_and_data_starts_at_4096",
    ),
    Mutant(
        "FAT data start at any sector",
        "imager/formats/fat/tables.py",
        "unit = max(sector_size, ALIGNMENT // 2)",
        "unit = sector_size",
        f"{_FAT}::test_files_are_aligned_and_data_starts_at_4096",
    ),
    Mutant(
        "FAT data start a cluster late",
        "imager/formats/fat/tables.py",
        "(cluster - FIRST_CLUSTER) * self.cluster_size",
        "(cluster - 1) * self.cluster_size",
        f"{_FAT}::test_folders_point_at_themselves_and_above",
    ),
    Mutant(
        "the second allocation table is missing",
        "imager/formats/fat/plan.py",
        "for offset in geometry.fat_offsets:",
        "for offset in geometry.fat_offsets[:1]:",
        f"{_FAT}::test_both_tables_are_the_same_clean_and_chained",
    ),
    Mutant(
        "ext4 data are a block off",
        "imager/formats/scratch_volume.py",
        "yield run.physical * BLOCK, content.slice(start, length)",
        "yield (run.physical + 1) * BLOCK, content.slice(start, length)",
        f"{_EXT4}::test_contents_reach_their_place",
    ),
    Mutant(
        "an ISO's names for bytes in its ESP may be unaligned",
        "imager/formats/iso9660/plan.py",
        "if alias.offset % CD_SECTOR or min(",
        "if min(",
        f"{_ISO9660}::test_alias_outside_of_its_target_is_refused",
    ),
    Mutant(
        "the boot info table names another sector",
        "imager/formats/iso9660/plan.py",
        '"<4I40x", SYSTEM_AREA // CD_SECTOR, offset // CD_SECTOR,',
        '"<4I40x", SYSTEM_AREA // CD_SECTOR, offset // CD_SECTOR + 1,',
        f"{_ISO9660}::test_boot_info_table_is_mkisofs_one",
    ),
    Mutant(
        "META has no checksum",
        "imager/talos/meta.py",
        "return hashlib.sha256(zeroed).digest() + _END_MAGIC",
        "return bytes(32) + _END_MAGIC",
        "tests/unit/test_meta.py::test_a_copy_is_laid_out_as_talos_does",
    ),
    Mutant(
        "a section of the UKI stands at another address",
        "imager/efi/uki.py",
        "address = align_up(address + section.content.size, headers.section_alignment)",
        "address = align_up(address + section.content.size, headers.file_alignment)",
        "tests/unit/test_uki.py::test_sections_are_appended_in_order_with_exact_sizes",
    ),
    Mutant(
        "a kernel of another machine passes",
        "imager/bootassets/kernelimage.py",
        "check_pe(path, machine=assets.arch.pe_machine, what=_WHAT[asset])",
        "pass",
        "tests/fault/test_input_errors.py::test_asset_of_the_wrong_machine_names_both",
    ),
    Mutant(
        "a section of a PE file may end behind it",
        "imager/efi/pe.py",
        "if raw_size and offset + raw_size > size:",
        "if raw_size and offset > size:",
        "tests/unit/test_uki.py::test_check_pe_says_what_is_wrong",
    ),
    Mutant(
        "a 32-bit PE file passes",
        "imager/efi/pe.py",
        "!= (_PE32_PLUS,) or optional_size",
        "== (0,) or optional_size",
        "tests/unit/test_uki.py::test_check_pe_says_what_is_wrong",
    ),
    Mutant(
        "a folder has one link too few",
        "imager/formats/ext4/layout.py",
        "links = 2 + sum(entry.directory for entry in entries)",
        "links = 2",
        "tests/oracle/test_ext4_oracle.py::test_inodes_are_roots_with_fixed_times",
    ),
    Mutant(
        "a hybrid ISO's GPT must be sound",
        "imager/formats/partitions.py",
        "            if not is_iso9660(head):\n                raise",
        "            raise",
        "tests/unit/test_image_volumes.py::test_an_iso_with_a_table_of_its_own_kind",
    ),
)
