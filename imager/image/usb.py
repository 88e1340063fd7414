"""The USB stick: the files of the ISO on a FAT volume to which users can add files.

It boots with UEFI only. It contains the files of the ISO's ESP, and the image cache in imagecache/,
which a machine finds by the volume's label.

The partition table is a GPT with one partition of the type "Microsoft basic data", as Rufus writes
it. Firmware reads FAT volumes of a removable disk whatever the partition type; Windows and macOS
mount this type, but hide EFI system partitions. An MBR would work for them too, but not for Talos:
its volume probing (go-blockdevice's blkid) supports only whole disks and GPT.
"""

from __future__ import annotations

from imager.formats.fat.plan import minimum_fat_size, plan_fat
from imager.formats.gpt.entries import BASIC_DATA
from imager.formats.gpt.table import backup_size
from imager.image.bootloader.boot import PlannedPartition
from imager.image.bootloader.bootloaders import boot_planner
from imager.image.cache_files import cache_on_medium, check_fits_fat
from imager.image.errors import DiskTooSmallError
from imager.image.partitioned import partitioned
from imager.image.plan import OutputPlan, Target
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.support.repro import derived_uuid
from imager.support.units import MIB, align_up, format_size

# A machine looks for a label that starts with TALOS_; FAT allows 11 characters.
LABEL = "TALOS_1"
_DISK = "talos-usb-stick"
_BOOTLOADER = "output.isoOptions.bootloader"
_SIZE = "output.imageOptions.diskSize"
_SECTOR = 512
_UEFI_ALONE = "boots by UEFI; for a BIOS, write the ISO itself to the stick"


def plan_usb_output(target: Target) -> OutputPlan:
    """Return the plan of the stick's image.

    Without a size from the user, it has the smallest possible size, a multiple of 1 MiB. Raises
    InputError for a size that does not work and for a cache that FAT cannot hold, and other
    ImagerErrors for inputs that a stick cannot contain.
    """
    check_fits_fat(target)
    boot_target = target.medium_boot()
    boot = boot_planner(target.bootloader, boot_target, field=_BOOTLOADER).iso(boot_target)
    tree = boot.esp.joined(cache_on_medium(target))
    minimum = 2 * MIB + align_up(minimum_fat_size(tree), MIB)
    size = minimum if target.disk_size is None else target.disk_size
    _check_size(size, minimum)
    room = (size - backup_size()) // MIB * MIB - MIB
    volume = plan_fat(
        tree,
        size=room,
        label=LABEL,
        volume_id=derived_uuid(LABEL).int & 0xFFFF_FFFF,
        timestamp=target.build.timestamp,
        hidden_sectors=MIB // _SECTOR,
    )
    partition = PlannedPartition(LABEL, BASIC_DATA, MIB, volume.content, "FAT32", volume.files)
    content, regions = partitioned([partition], size=size, name=_DISK)
    return OutputPlan(content, regions, minimum, (_UEFI_ALONE, *boot.notes))


def _check_size(size: int, minimum: int) -> None:
    if size % _SECTOR:
        raise InputError(
            f"{setting(_SIZE, str(size))} is not a multiple of the sector size, {_SECTOR} bytes",
            hint=f"use {align_up(size, MIB) // MIB}MiB",
        )
    if size < minimum:
        raise DiskTooSmallError(
            f"a USB stick of {format_size(size)} is too small for its files",
            hint=f"the smallest that works is {setting(_SIZE, f'{minimum // MIB}MiB')}",
        )
