"""One record per machine architecture, with everything that differs between them."""

from __future__ import annotations

from dataclasses import dataclass

from imager.support.errors import UnsupportedError


@dataclass(frozen=True, slots=True)
class Arch:
    """An architecture and its names in the various formats.

    `name` is the name that Talos, OCI (`platform.architecture`) and Debian use. `efi_boot_name` is
    the file name of the removable-media loader (UEFI 2.10, section 3.5.1.1) without `.EFI`.
    `pe_machine` is the COFF machine id, `efi_stub_suffix` the suffix in systemd and GRUB.
    `serial_console` is the kernel's first serial device. `grub_efi` is GRUB's EFI platform,
    `grub_bios` its BIOS platform, if it has one.
    """

    name: str
    efi_boot_name: str
    efi_stub_suffix: str
    pe_machine: int
    serial_console: str
    grub_efi: str
    grub_bios: str | None = None


AMD64 = Arch("amd64", "BOOTX64", "x64", 0x8664, "ttyS0", "x86_64-efi", "i386-pc")
ARM64 = Arch("arm64", "BOOTAA64", "aa64", 0xAA64, "ttyAMA0", "arm64-efi")
ARCHES = (AMD64, ARM64)


def find_arch(name: str) -> Arch:
    """Return the record named `name`; raises UnsupportedError for an unknown name."""
    for arch in ARCHES:
        if arch.name == name:
            return arch
    known = ", ".join(arch.name for arch in ARCHES)
    raise UnsupportedError(f"architecture {name!r} is not supported", hint=f"use one of: {known}")
