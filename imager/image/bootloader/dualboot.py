"""systemd-boot for UEFI and GRUB for BIOS, side by side."""

from __future__ import annotations

from imager.content.tree import Tree
from imager.image.bootloader import grub, sdboot
from imager.image.bootloader.boot import BootTarget, DiskBoot, IsoBoot
from imager.talos.choices import Bootloader

_HOW = "boots by UEFI with systemd-boot and by BIOS with GRUB"
# Talos's META key DiskImageBootloader; the node deletes it after removing the unused bootloader.
_META_KEY = 0x11


def plan_disk_boot(target: BootTarget, offset: int) -> DiskBoot:
    """Return EFI with systemd-boot, then BIOS and BOOT with GRUB, from byte `offset`.

    META tells the node to remove the partitions of the bootloader that did not boot it.
    """
    esp = sdboot.esp_on_disk(target, offset)
    bios, boot = grub.bios_partitions(target, esp.end)
    meta = {_META_KEY: Bootloader.DUAL_BOOT.value} if target.build.quirks.bootloader_cleanup else {}
    return DiskBoot((esp, bios, boot), _HOW, grub.master_boot_code(target, bios), meta=meta)


def plan_iso_boot(target: BootTarget) -> IsoBoot:
    """Return an ESP with systemd-boot, and GRUB's menu, kernel and image in the ISO's tree."""
    files = (grub.bios_image(target), *grub.menu_and_kernel(target))
    return IsoBoot(Tree.of(sdboot.medium_files(target)), _HOW, files, grub.hybrid_boot(target))
