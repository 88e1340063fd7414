"""The values that fields of a profile choose from."""

from __future__ import annotations

import enum


class OutputKind(enum.Enum):
    """What is made."""

    ISO = "iso"
    IMAGE = "image"
    USB = "usb"
    INSTALLER = "installer"
    KERNEL = "kernel"
    INITRAMFS = "initramfs"
    UKI = "uki"
    CMDLINE = "cmdline"

    @property
    def is_medium(self) -> bool:
        """Whether it has a bootloader of its own, and room for an image cache."""
        return self in (OutputKind.ISO, OutputKind.IMAGE, OutputKind.USB)


class OutFormat(enum.Enum):
    """How the output file is packed."""

    RAW = "raw"
    TAR_GZ = ".tar.gz"
    XZ = ".xz"
    GZ = ".gz"
    ZST = ".zst"


class DiskFormat(enum.Enum):
    """The format of a disk image."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VHD = "vhd"
    OVA = "ova"


class Bootloader(enum.Enum):
    """Which bootloader an output carries."""

    DUAL_BOOT = "dual-boot"
    SD_BOOT = "sd-boot"
    GRUB = "grub"


class EnrollKeys(enum.Enum):
    """How SecureBoot keys on a medium get into firmware in setup mode: see loader.conf(5)."""

    OFF = "off"
    MANUAL = "manual"
    IF_SAFE = "if-safe"
    FORCE = "force"
