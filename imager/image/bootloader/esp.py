"""The EFI system partition, as a file system and as a disk's first partition."""

from __future__ import annotations

from imager.content.tree import Tree, VolumePlan
from imager.formats.fat.plan import minimum_fat_size, plan_fat
from imager.formats.gpt.entries import ESP
from imager.image.bootloader.boot import BootTarget, PlannedPartition
from imager.support.repro import derived_uuid

LABEL = "EFI"


def disk_loader(target: BootTarget) -> str:
    """Return the path of the loader on the ESP of a disk.

    A Talos node looks for `EFI/boot/BOOT*.efi`, and its pattern is case-sensitive.
    """
    return f"EFI/boot/{target.build.arch.efi_boot_name}.efi"


def medium_loader(target: BootTarget) -> str:
    """Return the path of the loader on the ESP of an ISO or stick."""
    return f"EFI/BOOT/{target.build.arch.efi_boot_name}.EFI"


def plan_esp(
    target: BootTarget, tree: Tree, *, size: int | None = None, offset: int = 0
) -> VolumePlan:
    """Return the FAT volume of `tree`, of `size` bytes or the smallest; `offset` on its disk."""
    return plan_fat(
        tree,
        size=size or minimum_fat_size(tree, sector_size=target.build.sector_size),
        label=LABEL,
        volume_id=derived_uuid(LABEL).int & 0xFFFF_FFFF,
        timestamp=target.build.timestamp,
        sector_size=target.build.sector_size,
        hidden_sectors=offset // target.build.sector_size,
    )


def esp_partition(target: BootTarget, tree: Tree, *, size: int, offset: int) -> PlannedPartition:
    """Return the partition of `size` bytes at byte `offset` of the disk."""
    if overlay := target.build.overlay:
        tree = _replaced(tree, overlay.esp)
    volume = plan_esp(target, tree, size=size, offset=offset)
    return PlannedPartition(LABEL, ESP, offset, volume.content, "FAT32", volume.files)


def _replaced(tree: Tree, above: Tree) -> Tree:
    """Return `tree` with the files of `above`, which win; FAT ignores the case of names."""
    names = {file.path.lower() for file in above.files}
    kept = [file for file in tree.files if file.path.lower() not in names]
    return Tree.of([*kept, *above.files])
