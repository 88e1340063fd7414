"""Breaks of what a Talos node reads back from its disk and media."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_READS = "tests/oracle/test_node_reads_disk.py"
_DISK = "tests/oracle/test_output_disk.py"
_OUTPUT_SECUREBOOT = "tests/oracle/test_output_secureboot.py"

MUTANTS = (
    Mutant(
        "the loader of a disk has the name of a medium's",
        "imager/image/bootloader/esp.py",
        'f"EFI/boot/{target.build.arch.efi_boot_name}.efi"',
        'f"EFI/BOOT/{target.build.arch.efi_boot_name}.EFI"',
        f"{_READS}::test_firmware_starts_a_loader_that_the_node_finds",
    ),
    Mutant(
        "the menu's default is a number",
        "imager/image/bootloader/grub.py",
        "default=quoted_name(target.entries[0])",
        'default="0"',
        f"{_READS}::test_the_node_can_read_and_rewrite_the_menu",
    ),
    Mutant(
        "boot slot A has another name",
        "imager/image/bootloader/entries.py",
        'f"A - Talos {version.text}"',
        'f"Talos {version.text}"',
        f"{_READS}::test_the_node_can_read_and_rewrite_the_menu",
    ),
    Mutant(
        "a disk's reset entry wipes bootloader and cache too",
        "imager/image/bootloader/entries.py",
        '"talos.experimental.wipe=system:EPHEMERAL,STATE",',
        '"talos.experimental.wipe=system",',
        f"{_READS}::test_the_reset_entry_of_uefi_keeps_bootloader_and_cache",
    ),
    Mutant(
        "a node can roll back to the UKI that resets",
        "imager/image/bootloader/unified.py",
        'return f"{prefix}Talos-{target.build.version.text}.efi"',
        'return f"Talos-{target.build.version.text}{prefix}.efi"',
        f"{_READS}::test_the_uki_is_the_only_one_to_roll_back_to",
    ),
    Mutant(
        "systemd-boot's default is an image of any entry",
        "imager/image/bootloader/sdboot.py",
        '_DEFAULT = "default Talos-*.efi\\n"',
        '_DEFAULT = "default *Talos-*.efi\\n"',
        f"{_READS}::test_an_upgraded_node_starts_its_version_without_its_variables",
    ),
    Mutant(
        "META does not say that there are two bootloaders",
        "imager/image/disk.py",
        "values = {**boot_meta, **target.meta}",
        "values = {**target.meta}",
        f"{_READS}::test_meta_tells_the_node_to_remove_the_other_bootloader",
    ),
    Mutant(
        "META of before 1.10 has a key that is not known there",
        "imager/talos/versions.py",
        "bootloader_cleanup=since(1, 10)",
        "bootloader_cleanup=since(1, 9)",
        f"{_READS}::test_meta_tells_the_node_to_remove_the_other_bootloader",
    ),
    Mutant(
        "our META value takes the place of the user's",
        "imager/image/disk.py",
        "values = {**boot_meta, **target.meta}",
        "values = {**target.meta, **boot_meta}",
        f"{_READS}::test_a_value_of_the_users_takes_the_place_of_ours",
    ),
    Mutant(
        "IMAGECACHE has no room for a newer cache",
        "imager/talos/versions.py",
        "cache_headroom=20 if since(1, 13) else 0",
        "cache_headroom=20 if since(1, 14) else 0",
        f"{_DISK}::test_a_cache_from_1_13_on_has_room_for_a_newer_one",
    ),
    Mutant(
        "the room for a newer cache is wanted of the user's size too",
        "imager/image/disk.py",
        "if chosen is None and roomy:",
        "if roomy:",
        f"{_DISK}::test_a_size_of_the_users_is_the_total_from_1_13_on_too",
    ),
    Mutant(
        "a dual-boot disk is as small as its partitions",
        "imager/image/disk.py",
        "- DISK_SIZE_INCLUDES + boot_end",
        "- DISK_SIZE_INCLUDES",
        "tests/unit/test_versions.py::test_the_disk_without_a_cache",
    ),
    Mutant(
        "a label that Joliet cuts off is not said",
        "imager/image/iso.py",
        "if (joliet := joliet_volume_id(name)) != name:",
        "if (joliet := joliet_volume_id(name)) == '':",
        "tests/oracle/test_output_iso.py::test_a_label_that_joliet_cuts_off_is_said",
    ),
    Mutant(
        "a random seed is written to media",
        "imager/image/bootloader/sdboot.py",
        "Content.of_bytes(bytes(_SEED_SIZE)), mode=0o444)",
        "Content.of_bytes(bytes(_SEED_SIZE)))",
        "tests/oracle/test_golden.py::test_no_random_seed_is_written_to_a_medium",
    ),
    Mutant(
        "a disk has the keys that are not to be enrolled",
        "imager/image/bootloader/sdboot.py",
        "return (*files, *(_keys(target) if enrolls else ()))",
        "return (*files, *_keys(target))",
        f"{_OUTPUT_SECUREBOOT}::test_a_disk_enrolls_its_keys_unless_it_is_told_not_to",
    ),
)
