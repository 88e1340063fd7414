"""GRUB: the partitions EFI, BIOS and BOOT of a disk; the images and kernel of an ISO.

UEFI and BIOS both read the menu and the kernel from the disk or ISO itself.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from imager.bootassets.find import Asset
from imager.bootassets.grub import find_bios_grub, find_efi_grub
from imager.bootassets.kernelimage import efi_asset, initramfs_asset
from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.formats.gpt.entries import BIOS_BOOT, LEGACY_BOOT, LINUX_DATA
from imager.image.bootloader.boot import (
    BootTarget,
    DiskBoot,
    HybridBoot,
    IsoBoot,
    PlannedPartition,
)
from imager.image.bootloader.esp import disk_loader, esp_partition, medium_loader
from imager.image.bootloader.grubcore import (
    cd_core,
    disk_boot_code,
    disk_core,
    hybrid_boot_code,
    with_hybrid_core,
)
from imager.image.bootloader.grubmenu import efi_files, grub_cfg, other_partition_cfg, quoted_name
from imager.support.repro import derived_uuid

_BOOT = "BOOT"
_BIOS = "BIOS"
_BOOT_NUMBER = 3
_BOTH = "boots by UEFI and by BIOS with GRUB"
_UEFI_ALONE = "boots by UEFI with GRUB"
_BIOS_SECTOR = 512
# As in Talos: kernels in the folder of their boot slot, the menu in a separate one.
_DISK_KERNELS, _DISK_MENU = "A", "grub"
_ISO_KERNELS, _ISO_MENU = "boot", "boot/grub"
_ISO_IMAGE = "boot/grub/bios.img"
_CONFIG = "grub.cfg"


def plan_disk_boot(target: BootTarget, offset: int) -> DiskBoot:
    """Return EFI, BIOS and BOOT, from byte `offset` of the disk.

    Raises InputError if a boot asset is missing or does not fit.
    """
    config = other_partition_cfg(_BOOT_NUMBER, menu=f"/{_DISK_MENU}/{_CONFIG}")
    files = efi_files(disk_loader(target), loader=_efi_loader(target), config=config)
    esp = esp_partition(target, files, size=target.build.quirks.efi_size, offset=offset)
    bios, boot = bios_partitions(target, esp.end)
    how = _BOTH if target.build.has_bios else _UEFI_ALONE
    return DiskBoot((esp, bios, boot), how, master_boot_code(target, bios))


def plan_iso_boot(target: BootTarget) -> IsoBoot:
    """Return an ESP with GRUB, its menu and the kernel, and the image for a BIOS.

    Raises InputError if a boot asset is missing.
    """
    loader = File(medium_loader(target), _efi_loader(target))
    esp = Tree.of([loader, *menu_and_kernel(target)])
    if target.build.has_bios:
        return IsoBoot(esp, _BOTH, (bios_image(target),), hybrid_boot(target))
    return IsoBoot(esp, _UEFI_ALONE)


def bios_partitions(target: BootTarget, offset: int) -> tuple[PlannedPartition, PlannedPartition]:
    """Return BIOS, with GRUB's image if a BIOS can boot, and BOOT, from byte `offset`."""
    size = target.build.quirks.bios_size
    core = b""
    if target.build.has_bios:
        prefix = f"(,gpt{_BOOT_NUMBER})/{_DISK_MENU}"
        core = disk_core(_grub(target), prefix=prefix, first_sector=offset // _BIOS_SECTOR)
    bios = PlannedPartition(
        _BIOS,
        BIOS_BOOT,
        offset,
        Content.of_bytes(core).padded(size),
        "GRUB core image",
        attributes=LEGACY_BOOT,
    )
    return bios, _boot_partition(target, bios.end)


def master_boot_code(target: BootTarget, bios: PlannedPartition) -> bytes:
    """Return the MBR code that boots the partition `bios`; b"" without a BIOS."""
    if not target.build.has_bios:
        return b""
    return disk_boot_code(_grub(target), bios.offset // _BIOS_SECTOR)


def bios_image(target: BootTarget) -> File:
    """Return the file in an ISO's tree that a BIOS loads."""
    core = cd_core(_grub(target), prefix=f"/{_ISO_MENU}")
    return File(_ISO_IMAGE, Content.of_bytes(core))


def menu_and_kernel(target: BootTarget) -> tuple[File, ...]:
    """Return the menu, kernel and initramfs for an ISO's tree.

    Raises InputError if a boot asset is missing.
    """
    return _menu_and_kernel(target, default="0", kernels=_ISO_KERNELS, menu=_ISO_MENU)


def hybrid_boot(target: BootTarget) -> HybridBoot:
    """Return the data for booting `bios_image` with a BIOS."""
    return HybridBoot(_ISO_IMAGE, partial(hybrid_boot_code, _grub(target)), with_hybrid_core)


def _grub(target: BootTarget) -> Path:
    return find_bios_grub(target.build.arch, given=target.build.assets.place)


def _efi_loader(target: BootTarget) -> Content:
    return Content.of_file(find_efi_grub(target.build.arch, given=target.build.assets.place))


def _boot_partition(target: BootTarget, offset: int) -> PlannedPartition:
    from imager.formats.xfs.plan import plan_xfs

    volume = plan_xfs(
        Tree.of(
            _menu_and_kernel(
                target,
                default=quoted_name(target.entries[0]),
                kernels=_DISK_KERNELS,
                menu=_DISK_MENU,
            )
        ),
        size=target.build.quirks.boot_size,
        label=_BOOT,
        uuid=derived_uuid(_BOOT),
        timestamp=target.build.timestamp,
        scratch=target.build.scratch,
        sector_size=target.build.sector_size,
    )
    return PlannedPartition(_BOOT, LINUX_DATA, offset, volume.content, "XFS", volume.files)


def _menu_and_kernel(
    target: BootTarget, *, default: str, kernels: str, menu: str
) -> tuple[File, ...]:
    kernel, initramfs = f"{kernels}/{Asset.KERNEL.value}", f"{kernels}/{Asset.INITRAMFS.value}"
    serial = f"console={target.build.arch.serial_console}"
    config = grub_cfg(
        target.entries,
        default=default,
        kernel=f"/{kernel}",
        initramfs=f"/{initramfs}",
        serial=any(word.partition(",")[0] == serial for word in target.entries[0].cmdline.split()),
    )
    return (
        File(f"{menu}/{_CONFIG}", Content.of_bytes(config)),
        File(kernel, efi_asset(target.build.assets, Asset.KERNEL)),
        File(initramfs, initramfs_asset(target.build.assets)),
    )
