"""The ISO: one file that boots as a CD, and as a raw disk or USB stick, with UEFI and BIOS.

The ESP image is both an El Torito boot image and a GPT partition. Its files also appear in the ISO
tree, as aliases for the bytes inside the ESP image, so that the contents can be copied to a FAT
stick, on Windows by their Joliet names. The same applies to kernel and initramfs if a BIOS needs
them in addition to the UKI. The image cache is in imagecache/. The first 32 KiB contain the MBR,
with boot code for a BIOS, and the GPT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from imager.content.extents import Content, Extent, FileRange, Source
from imager.content.tree import File, PlacedFile, Tree, VolumePlan
from imager.formats.gpt.entries import ESP, Partition
from imager.formats.gpt.table import backup_size, plan_gpt
from imager.formats.iso9660.joliet import joliet_volume_id
from imager.formats.iso9660.plan import BootEntry, BootPlatform, IsoAlias, IsoPlan, plan_iso
from imager.image.bootloader.boot import IsoBoot
from imager.image.bootloader.bootloaders import boot_planner
from imager.image.bootloader.esp import LABEL, plan_esp
from imager.image.cache_files import cache_on_medium, check_fits_fat
from imager.image.plan import OutputPlan, Region, RegionKind, Target, file_regions
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.support.repro import derived_uuid
from imager.support.units import CD_SECTOR, align_up, count

ESP_IMAGE = "efi.img"
_BOOTLOADER = "output.isoOptions.bootloader"
_DISK_SECTOR = 512
_LONGEST_VOLUME_ID = 32
# Drives read ahead past the end of real discs; 150 sectors of padding are customary.
_RUN_OUT = 150 * CD_SECTOR
# Load size 0 means "to the end of the medium": the field is 16 bits, in 512-byte sectors.
_TO_THE_END = 0
# A BIOS loads the image's first 2048 bytes, as four sectors of 512; these load the rest.
_LOAD = 4


def volume_id(version: str) -> str:
    """Return the volume id for `version`: `TALOS_V1_9_0`, at most 32 of A-Z, 0-9 and `_`.

    As in Talos, `-` and `.` become `_`, and other characters are dropped.
    """
    words = re.sub(r"[-.]", "_", f"Talos-{version}".upper())
    return re.sub(r"[^A-Z0-9_]", "", words)[:_LONGEST_VOLUME_ID]


def plan_iso_output(target: Target) -> OutputPlan:
    """Return the plan of the ISO; raises ImagerError for inputs that it cannot contain."""
    name = volume_id(target.build.version.text)
    boot_target = target.medium_boot()
    boot = boot_planner(target.bootloader, boot_target, field=_BOOTLOADER).iso(boot_target)
    esp = plan_esp(boot_target, boot.esp)
    iso = _iso_tree(target, boot, esp, name)
    placed = {file.path: file for file in iso.files}
    image = placed[ESP_IMAGE]
    content, code = _hybrid(iso.content, boot, placed)
    size = align_up(content.size + _RUN_OUT + backup_size(), CD_SECTOR)
    partition = Partition(LABEL, ESP, derived_uuid(LABEL), image.offset, image.length)
    gpt = plan_gpt([partition], disk_size=size, disk_guid=derived_uuid(name), boot_code=code)
    content = Content.compose(
        size, [(0, gpt.primary), (0, content), (gpt.backup_offset, gpt.backup)]
    )
    regions = [
        Region(RegionKind.TABLE, "GPT", 0, gpt.primary.size),
        *file_regions(iso.files),
        *file_regions(esp.files, folder=f"{ESP_IMAGE}/", offset=image.offset),
        Region(RegionKind.TABLE, "GPT backup", gpt.backup_offset, gpt.backup.size),
    ]
    regions.sort(key=lambda region: region.offset)
    notes = (boot.how, *boot.notes, *_notes(target, iso, name))
    return OutputPlan(content, tuple(regions), notes=notes, aliases=tuple(file_regions(iso.others)))


def _notes(target: Target, iso: IsoPlan, name: str) -> Iterator[str]:
    if (joliet := joliet_volume_id(name)) != name:
        yield (
            f"the volume label {name} is longer than Joliet's 16 characters:"
            f" Talos and Windows show {joliet}"
        )
    try:
        check_fits_fat(target)
    except InputError as error:
        yield f"the ISO cannot be copied to a FAT stick: {error.message}; {error.hint}"
    else:
        if iso.renamed:
            yield (
                f"Windows shows {count(len(iso.renamed), 'name')} of the ISO in short form, such as"
                f" {iso.renamed[0]}: do not copy them to a stick on Windows, build one with"
                f" {setting('output.kind', 'usb')}"
            )


def _hybrid(iso: Content, boot: IsoBoot, placed: Mapping[str, PlacedFile]) -> tuple[Content, bytes]:
    """Make the ISO boot with a BIOS from a disk too; return its content and the MBR code."""
    if boot.bios is None:
        return iso, b""
    sector = placed[boot.bios.path].offset // _DISK_SECTOR
    return boot.bios.patched(iso, sector), boot.bios.boot_code(sector)


def _iso_tree(target: Target, boot: IsoBoot, esp: VolumePlan, name: str) -> IsoPlan:
    aliases = [*_names_in_esp(boot, esp), *_shared(boot.files, esp)]
    named = {alias.path for alias in aliases}
    stored = [file for file in boot.files if file.path not in named]
    entries = [BootEntry(ESP_IMAGE, BootPlatform.EFI, _TO_THE_END)]
    if boot.bios:
        # The default entry must be the BIOS's; UEFI looks for the entry with its platform id.
        entries.insert(0, BootEntry(boot.bios.path, BootPlatform.BIOS, _LOAD, boot_info_table=True))
    return plan_iso(
        Tree.of([File(ESP_IMAGE, esp.content), *stored]).joined(cache_on_medium(target)),
        volume_id=name,
        timestamp=target.build.timestamp,
        boot=entries,
        aliases=aliases,
    )


def _names_in_esp(boot: IsoBoot, esp: VolumePlan) -> Iterator[IsoAlias]:
    """Yield aliases in the ISO's tree for the ESP's files, except those that the tree has."""
    own = {file.path for file in boot.files}
    for file in esp.files:
        if file.path not in own:
            yield IsoAlias(file.path, ESP_IMAGE, file.offset, file.length)


def _shared(files: Sequence[File], esp: VolumePlan) -> Iterator[IsoAlias]:
    """Yield aliases for the `files` whose bytes are already in the ESP image, inside its UKI."""
    places: dict[tuple[Source, int], int] = {
        (extent.source, extent.length): extent.offset
        for extent in esp.content.extents
        if isinstance(extent.source, FileRange) and extent.offset % CD_SECTOR == 0
    }
    for file in files:
        match file.content.extents:
            case (Extent(length=length, source=source),) if length == file.content.size:
                if (offset := places.get((source, length))) is not None:
                    yield IsoAlias(file.path, ESP_IMAGE, offset, length)
