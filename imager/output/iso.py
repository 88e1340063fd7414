"""The ISO: one file that boots as a CD, and as a raw disk or USB stick, by UEFI.

The ESP image is an El Torito boot image and a GPT partition at once. EFI/ and loader/ stand in
the ISO tree too, as second names for the bytes inside the ESP image, so that the contents can be
copied to a FAT stick; the image cache lies in imagecache/. The first 32 KiB hold the protective
MBR and the GPT and leave room for BIOS boot code.
"""

from __future__ import annotations

import re

from imager.bootassets.meta import meta_kernel_argument
from imager.extents import Content
from imager.filetree import TreeFile, VolumePlan
from imager.media.gpt import ESP, Partition, backup_size, plan_gpt
from imager.media.iso9660 import BootEntry, BootPlatform, IsoAlias, plan_iso
from imager.output.esp import LABEL, esp_files, plan_esp
from imager.output.plan import OutputPlan, Region, RegionKind, Target
from imager.repro import derived_uuid
from imager.units import align_up

ESP_IMAGE = "efi.img"
CACHE_FOLDER = "imagecache"
_SECTOR = 2048
_LONGEST_VOLUME_ID = 32
# Readers of real discs read ahead of the end; 150 sectors are what is customary.
_RUN_OUT = 150 * _SECTOR
# A load size of 0 is "to the end of the medium": the field counts 512-byte sectors in 16 bits.
_TO_THE_END = 0
_NO_DISK_SIZE = "an ISO is as large as its contents: --image-disk-size was ignored"
_META_GZIP_SINCE = (1, 6, 3)


def volume_id(version: str) -> str:
    """Return the volume id for `version`: `TALOS_V1_9_0`, at most 32 of A-Z, 0-9 and `_`."""
    return re.sub(r"[^A-Z0-9_]", "_", f"Talos-{version}".upper())[:_LONGEST_VOLUME_ID]


def plan_iso_output(target: Target) -> OutputPlan:
    """Return the plan of the ISO; raises ImagerError for inputs that cannot be in one."""
    name = volume_id(target.version.text)
    esp = plan_esp(target, esp_files(target, _cmdline(target)), size=None)
    iso = _iso_tree(target, esp, name)
    placed = {file.path: file for file in iso.files}
    image = placed[ESP_IMAGE]
    size = align_up(iso.content.size + _RUN_OUT + backup_size(), _SECTOR)
    partition = Partition(LABEL, ESP, derived_uuid(LABEL), image.offset, image.length)
    gpt = plan_gpt([partition], disk_size=size, disk_guid=derived_uuid(name))
    content = Content.compose(
        size, [(0, gpt.primary), (0, iso.content), (gpt.backup_offset, gpt.backup)]
    )
    inside = [
        Region(RegionKind.FILE, f"{ESP_IMAGE}/{file.path}", image.offset + file.offset, file.length)
        for file in esp.files
    ]
    regions = [
        Region(RegionKind.TABLE, "GPT", 0, gpt.primary.size),
        *(Region(RegionKind.FILE, file.path, file.offset, file.length) for file in iso.files),
        *inside,
        Region(RegionKind.TABLE, "GPT backup", gpt.backup_offset, gpt.backup.size),
    ]
    regions.sort(key=lambda region: region.offset)
    notes = () if target.disk_size is None else (_NO_DISK_SIZE,)
    return OutputPlan(f"{target.stem}.iso", content, tuple(regions), notes=notes)


def _cmdline(target: Target) -> str:
    gzip = target.version.numbers >= _META_GZIP_SINCE
    extra = [meta_kernel_argument(target.meta, allow_gzip=gzip)] if target.meta else []
    return target.cmdline(iso=True, extra=extra)


def _iso_tree(target: Target, esp: VolumePlan, name: str) -> VolumePlan:
    cache = target.cache.files if target.cache else ()
    return plan_iso(
        [
            TreeFile(ESP_IMAGE, esp.content),
            *(TreeFile(f"{CACHE_FOLDER}/{file.path}", file.content) for file in cache),
        ],
        volume_id=name,
        timestamp=target.timestamp,
        boot=[BootEntry(ESP_IMAGE, BootPlatform.EFI, _TO_THE_END)],
        aliases=[IsoAlias(file.path, ESP_IMAGE, file.offset, file.length) for file in esp.files],
    )
