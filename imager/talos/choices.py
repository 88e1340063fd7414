"""Enumerations for the fields of a profile."""

from __future__ import annotations

import enum


class OutputKind(enum.Enum):
    """The kind of output."""

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
        """Whether the output has a bootloader, and can contain an image cache."""
        return self in (OutputKind.ISO, OutputKind.IMAGE, OutputKind.USB)


class OutFormat(enum.Enum):
    """The compression of the output file."""

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
    """The bootloader of an output."""

    DUAL_BOOT = "dual-boot"
    SD_BOOT = "sd-boot"
    GRUB = "grub"


class EnrollKeys(enum.Enum):
    """How the SecureBoot keys on a medium are enrolled in setup mode: see loader.conf(5)."""

    OFF = "off"
    MANUAL = "manual"
    IF_SAFE = "if-safe"
    FORCE = "force"
