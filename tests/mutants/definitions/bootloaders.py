"""Breaks of what bootloaders put on disks and ISOs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_QUIRKS = "tests/unit/test_versions.py"
_OUTPUTS = "tests/oracle/test_output_bootloaders.py"
_SECURE = "tests/oracle/test_output_secureboot.py"

MUTANTS = (
    Mutant(
        "BOOT of 1.11 is as small as before",
        "imager/talos/versions.py",
        "boot_size=2000 * MIB if since(1, 11) else 1000 * MIB",
        "boot_size=2000 * MIB if since(1, 12) else 1000 * MIB",
        f"{_QUIRKS}::test_partitions",
    ),
    Mutant(
        "systemd-boot comes a version late",
        "imager/talos/versions.py",
        "Bootloader.DUAL_BOOT if since(1, 10) else Bootloader.GRUB",
        "Bootloader.DUAL_BOOT if since(1, 11) else Bootloader.GRUB",
        f"{_QUIRKS}::test_systemd_boot_comes_with_1_10",
    ),
    Mutant(
        "the MBR looks for GRUB a sector behind its start",
        "imager/image/bootloader/grub.py",
        "disk_boot_code(_grub(target), bios.offset // _BIOS_SECTOR)",
        "disk_boot_code(_grub(target), bios.offset // _BIOS_SECTOR + 1)",
        f"{_OUTPUTS}::test_the_bios_partition_is_where_the_mbr_looks",
    ),
    Mutant(
        "an old stub gets profiles",
        "imager/bootassets/kernelimage.py",
        'version_number(stub, "stub") >= _PROFILES_SINCE',
        'version_number(stub, "stub") >= 0',
        f"{_OUTPUTS}::test_an_old_stub_gets_no_profiles",
    ),
    Mutant(
        "kernel and initramfs are on the ISO twice",
        "imager/image/iso.py",
        "named = {alias.path for alias in aliases}",
        "named = set[str]()",
        f"{_OUTPUTS}::test_an_old_stub_gets_no_profiles",
    ),
    Mutant(
        "the hybrid ISO's image is not told its place",
        "imager/image/iso.py",
        "return boot.bios.patched(iso, sector), boot.bios.boot_code(sector)",
        "return iso, boot.bios.boot_code(sector - 4)",
        f"{_OUTPUTS}::test_the_mbr_is_grubs_and_finds_its_image",
    ),
    Mutant(
        "the reset entry is like the other one",
        "imager/image/bootloader/entries.py",
        'f"{cmdline} {reset.cmdline}"',
        "cmdline",
        f"{_OUTPUTS}::test_the_menu_has_both_entries",
    ),
    Mutant(
        "META is lost where there is no partition for it",
        "imager/image/plan.py",
        "meta = () if disk else self._meta_argument()",
        "meta = () if disk or not iso else self._meta_argument()",
        "tests/oracle/test_output_iso.py::test_meta_is_a_kernel_argument_of_what_is_no_disk",
    ),
    Mutant(
        "the loader is not signed",
        "imager/image/bootloader/sdboot.py",
        "return sign_pe(binary, target.build.secure_boot.signer, name=Asset.SD_BOOT.value)",
        "return binary",
        f"{_SECURE}::test_a_stub_and_a_loader_without_symbols",
    ),
    Mutant(
        "if-safe is written for a loader that does not know it",
        "imager/image/bootloader/sdboot.py",
        "_IF_SAFE_SINCE = 253",
        "_IF_SAFE_SINCE = 0",
        f"{_SECURE}::test_enrolling_is_written_in_words_that_the_loader_knows",
    ),
    Mutant(
        "keys are taken that firmware would not boot with",
        "imager/efi/secureboot.py",
        "if not accepts(db, signer.certificate):",
        "if False:",
        f"{_SECURE}::test_variables_that_lock_us_out",
    ),
    Mutant(
        "the kernel is not locked down",
        "imager/talos/kernel_arguments.py",
        'KernelArgument("lockdown=confidentiality", before=(1, 14), secure_boot_only=True)',
        'KernelArgument("lockdown=confidentiality", before=(1, 4), secure_boot_only=True)',
        f"{_SECURE}::test_the_command_line_locks_the_kernel_down",
    ),
)
