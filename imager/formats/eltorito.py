"""Read the El Torito boot catalog of an ISO: its boot images for firmware.

"El Torito" Bootable CD-ROM Format Specification 1.0, and UEFI 2.10, 13.3.2.1. The size field of an
image is ignored: it counts 512-byte sectors in 16 bits, so writers set it to 0 or let it overflow.
The contents of the image determine its size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.formats.iso9660.read import volume_descriptors
from imager.formats.volume_reader import DamagedError, OpenedVolume, opened_volume
from imager.support.units import CD_SECTOR

_BOOT_RECORD = b"\0CD001\x01EL TORITO SPECIFICATION"
_CATALOG = struct.Struct("<71xI")
_ENTRY = 32
_LARGEST_CATALOG = 4 * CD_SECTOR
_VALIDATION = struct.Struct("<BB28xBB")
_SECTION = struct.Struct("<BBH")
_IMAGE = struct.Struct("<BB6xI")
_BOOTABLE, _HEADER, _LAST_HEADER, _EXTENSION = 0x88, 0x90, 0x91, 0x44
_EFI = 0xEF


@dataclass(frozen=True, slots=True)
class BootImage:
    """A bootable image at byte `offset`; entry `number` of the catalog (from 1)."""

    number: int
    offset: int
    is_efi: bool


def read_boot_images(source: Path | Content, *, name: str = "") -> tuple[BootImage, ...]:
    """Return the bootable images in the boot catalog of an ISO; empty without a catalog.

    Raises InputError for a damaged catalog, OutputError if the file cannot be read.
    """
    with opened_volume(source, offset=0, size=None, what="ISO 9660", name=name) as volume:
        place = _catalog_of(volume)
        return tuple(_images(volume, place)) if place is not None else ()


def _catalog_of(volume: OpenedVolume) -> int | None:
    """Return the offset of the boot catalog in bytes, or None if there is none."""
    for descriptor in volume_descriptors(volume):
        if descriptor.startswith(_BOOT_RECORD):
            return int(_CATALOG.unpack_from(descriptor)[0]) * CD_SECTOR
    return None


def _images(volume: OpenedVolume, place: int) -> Iterator[BootImage]:
    catalog = volume.read(place, min(_LARGEST_CATALOG, max(volume.size - place, 0)))
    starts = range(0, len(catalog) - _ENTRY + 1, _ENTRY)
    entries = [catalog[start : start + _ENTRY] for start in starts]
    if not entries or not _is_valid(entries[0]):
        raise DamagedError("the boot catalog has no valid validation entry")
    platform, left, number, more = entries[0][1], 1, 0, True
    for entry in entries[1:]:
        if entry[0] == _EXTENSION:
            continue
        if left:
            left, number = left - 1, number + 1
            indicator, _, sector = _IMAGE.unpack_from(entry)
            if indicator == _BOOTABLE:
                yield BootImage(number, sector * CD_SECTOR, platform == _EFI)
        elif more and entry[0] in (_HEADER, _LAST_HEADER):
            header, platform, left = _SECTION.unpack_from(entry)
            more = header == _HEADER
        else:
            return
    if left:
        raise DamagedError("the boot catalog is not terminated")


def _is_valid(entry: bytes) -> bool:
    """Return whether this is a validation entry: the sum of its 16-bit words is zero."""
    header, _, key_55, key_aa = _VALIDATION.unpack(entry)
    words = struct.unpack("<16H", entry)
    return (header, key_55, key_aa) == (1, 0x55, 0xAA) and sum(words) & 0xFFFF == 0
