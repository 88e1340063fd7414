"""The list of bootloaders: to add one, write a module and add a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imager.image.bootloader import dualboot, grub, sdboot
from imager.image.bootloader.boot import BootTarget, DiskBoot, IsoBoot
from imager.image.errors import ImpossibleBootloaderError
from imager.support.fields import setting
from imager.talos.choices import Bootloader
from imager.talos.versions import fills_in

_GRUB_SECTOR = 512


@dataclass(frozen=True, slots=True)
class BootPlanner:
    """Plans a bootloader: on a disk, from a given byte, and on an ISO."""

    disk: Callable[[BootTarget, int], DiskBoot]
    iso: Callable[[BootTarget], IsoBoot]


_PLANNERS: Mapping[Bootloader, BootPlanner] = {
    Bootloader.SD_BOOT: BootPlanner(sdboot.plan_disk_boot, sdboot.plan_iso_boot),
    Bootloader.GRUB: BootPlanner(grub.plan_disk_boot, grub.plan_iso_boot),
    Bootloader.DUAL_BOOT: BootPlanner(dualboot.plan_disk_boot, dualboot.plan_iso_boot),
}


def boot_planner(asked: Bootloader | None, target: BootTarget, *, field: str) -> BootPlanner:
    """Return the planner of the `asked` bootloader, or of the version's default.

    `field` is the path of the bootloader in the profile, for messages.

    4096-byte sectors require systemd-boot: a BIOS cannot boot from them, and GRUB's small EFI
    partition could not be FAT32. Raises UnsupportedError for an impossible bootloader.
    """
    if asked is None:
        return _PLANNERS[_default(target)]
    if target.build.secure_boot and asked is not Bootloader.SD_BOOT:
        raise ImpossibleBootloaderError(
            f"{setting(field, asked.value)}: not with SecureBoot,"
            " for which only systemd-boot is signed",
            hint=f"leave {setting(field)} out, or choose sd-boot",
        )
    if target.build.sector_size != _GRUB_SECTOR and fills_in(asked, target.build.version):
        return _PLANNERS[Bootloader.SD_BOOT]
    if target.build.sector_size != _GRUB_SECTOR and asked is not Bootloader.SD_BOOT:
        raise ImpossibleBootloaderError(
            f"{setting(field, asked.value)}: not for sectors of {target.build.sector_size} bytes",
            hint=f"leave {setting(field)} out, or choose sd-boot",
        )
    if asked is Bootloader.DUAL_BOOT and not target.build.has_bios:
        raise ImpossibleBootloaderError(
            f"{setting(field, asked.value)}: {target.build.arch.name} machines have no BIOS",
            hint=f"leave {setting(field)} out, or choose sd-boot or grub",
        )
    return _PLANNERS[asked]


def _default(target: BootTarget) -> Bootloader:
    default = target.build.quirks.bootloader
    if target.build.sector_size != _GRUB_SECTOR or target.build.secure_boot:
        return Bootloader.SD_BOOT
    if default is Bootloader.DUAL_BOOT and not target.build.has_bios:
        return Bootloader.SD_BOOT
    return default
