"""The list of bootloaders: to add one, write a module and add a case here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


def boot_planner(asked: Bootloader | None, target: BootTarget, *, field: str) -> BootPlanner:
    """Return the planner of the `asked` bootloader, or of the version's default.

    `field` is the path of the bootloader in the profile, for messages.

    4096-byte sectors require systemd-boot: a BIOS cannot boot from them, and GRUB's small EFI
    partition could not be FAT32. Raises UnsupportedError for an impossible bootloader.
    """
    build, possible = target.build, "sd-boot"
    is_large = build.sector_size != _GRUB_SECTOR
    if asked is None:
        asked = Bootloader.SD_BOOT if build.secure_boot else build.quirks.bootloader
        cannot = is_large or (asked is Bootloader.DUAL_BOOT and not build.has_bios)
        return _planner(Bootloader.SD_BOOT if cannot else asked)
    if build.secure_boot and asked is not Bootloader.SD_BOOT:
        problem = "not supported with SecureBoot, which needs systemd-boot"
    elif is_large and fills_in(asked, build.version):
        return _planner(Bootloader.SD_BOOT)
    elif is_large and asked is not Bootloader.SD_BOOT:
        problem = f"not supported with {build.sector_size}-byte sectors"
    elif asked is Bootloader.DUAL_BOOT and not build.has_bios:
        problem, possible = f"{build.arch.name} machines have no BIOS", "sd-boot or grub"
    else:
        return _planner(asked)
    raise ImpossibleBootloaderError(
        f"{setting(field, asked.value)}: {problem}",
        hint=f"omit {setting(field)}, or choose {possible}",
    )


def _planner(bootloader: Bootloader) -> BootPlanner:
    """Return the planner of `bootloader`, whose module alone is loaded."""
    match bootloader:
        case Bootloader.SD_BOOT:
            from imager.image.bootloader.sdboot import plan_disk_boot, plan_iso_boot
        case Bootloader.GRUB:
            from imager.image.bootloader.grub import plan_disk_boot, plan_iso_boot
        case Bootloader.DUAL_BOOT:
            from imager.image.bootloader.dualboot import plan_disk_boot, plan_iso_boot
    return BootPlanner(plan_disk_boot, plan_iso_boot)
