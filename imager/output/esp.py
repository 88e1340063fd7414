"""The EFI system partition that both the ISO and the disk carry."""

from __future__ import annotations

from collections.abc import Sequence

from imager.bootassets.kernelimage import efi_asset, unified_kernel_image
from imager.bootassets.locate import Asset
from imager.bootloader.sdboot import BootFile, boot_files
from imager.filetree import VolumePlan
from imager.media.fat import FatFile, minimum_fat_size, plan_fat
from imager.output.plan import Target
from imager.repro import derived_uuid

LABEL = "EFI"


def esp_files(target: Target, cmdline: str) -> tuple[BootFile, ...]:
    """Return the files of the ESP, its UKI having the kernel command line `cmdline`."""
    version = target.version.text
    return boot_files(
        target.arch,
        version=version,
        loader=efi_asset(target.assets, Asset.SD_BOOT),
        uki=unified_kernel_image(target.assets, version=version, cmdline=cmdline),
    )


def plan_esp(
    target: Target, files: Sequence[BootFile], *, size: int | None, offset: int = 0
) -> VolumePlan:
    """Return the FAT volume of `files`: of `size` bytes, or the smallest; `offset` on its disk."""
    fat_files = [FatFile(file.path, file.content, file.read_only) for file in files]
    return plan_fat(
        fat_files,
        size=minimum_fat_size(fat_files) if size is None else size,
        label=LABEL,
        volume_id=derived_uuid(LABEL).int & 0xFFFF_FFFF,
        timestamp=target.timestamp,
        hidden_sectors=offset // 512,
    )
