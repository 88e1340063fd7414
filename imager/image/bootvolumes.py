"""Find the volumes of an image that firmware boots from: EFI system partitions and boot images.

UEFI 2.10, 13.3: firmware boots from the FAT volume of an EFI system partition (GPT or MBR), of an
El Torito boot image, or of a medium without partitions. The EFI and loader folders of an ISO's own
file system count too: they boot when copied to a stick (which only has to be FAT).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imager.content.compression import codec_of
from imager.content.extents import Content
from imager.content.reading import read_start
from imager.formats.eltorito import read_boot_images
from imager.formats.fat.read import fat_tables_agree, is_fat, open_fat
from imager.formats.iso9660.read import is_iso9660, open_iso9660
from imager.formats.partitions import HEAD, FoundPartition, find_partitions
from imager.support.errors import InputError

_BOOT_SECTOR = 512
_ISO_FOLDERS = ("EFI", "efi", "loader")


@dataclass(frozen=True, slots=True)
class BootVolume:
    """A volume: its name in messages, its files by path, and warnings about it."""

    name: str
    files: Mapping[str, Content]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """The position of a FAT volume; `size` is None for the rest of the image."""

    name: str
    offset: int
    size: int | None = None


def find_boot_volumes(path: Path) -> tuple[BootVolume, ...]:
    """Return the volumes in the image `path` that firmware may boot from.

    Omits files of an ISO's tree whose bytes are also a file in another volume. Raises InputError
    for an image without such a volume, or with a damaged one, and OutputError if the file cannot be
    read.
    """
    head = read_start(path, HEAD)
    codec = codec_of(head)
    if codec is not None:
        command = f"{codec.value} -d {shlex.quote(str(path))}"
        raise InputError(f"{path} is compressed", hint=f"decompress it first: {command}")
    places = {place.offset: place for place in reversed([*_places(path, head)])}
    volumes = [_fat_volume(path, places[offset]) for offset in sorted(places)]
    if is_iso9660(head):
        known = {content for volume in volumes for content in volume.files.values()}
        files = {name: each for name, each in _iso_files(path).items() if each not in known}
        if files:
            volumes.append(BootVolume("ISO 9660 tree", files))
    if not volumes:
        raise InputError(
            f"{path}: found neither an EFI binary nor an EFI system partition, an El Torito boot "
            "image or a FAT file system",
            hint="give an EFI binary, an ISO or a raw disk image",
        )
    return tuple(volumes)


def _places(path: Path, head: bytes) -> Iterator[_Place]:
    """Yield the positions of FAT volumes for firmware; a position may occur twice."""
    partitions = find_partitions(path, head)
    esps = [each for each in partitions if each.is_esp]
    for each in esps:
        yield _checked(path, _Place(f"{_name(each)} (ESP)", each.offset, each.size))
    if is_iso9660(head):
        yield from _boot_images(path)
    if is_fat(head):
        yield _Place("FAT volume", 0)
    if not esps:
        # On a removable disk, firmware also reads partitions of other types.
        for each in partitions:
            if _is_fat(path, each.offset):
                yield _Place(_name(each), each.offset, each.size)


def _boot_images(path: Path) -> Iterator[_Place]:
    for image in read_boot_images(path):
        place = _Place(f"El Torito image {image.number}", image.offset)
        if image.is_efi:
            yield _checked(path, place)
        elif _is_fat(path, image.offset):
            yield place


def _checked(path: Path, place: _Place) -> _Place:
    if not _is_fat(path, place.offset):
        raise InputError(
            f"{path}: {place.name} is for UEFI, but has no FAT file system",
            hint="build or download the image again",
        )
    return place


def _is_fat(path: Path, offset: int) -> bool:
    return is_fat(read_start(path, _BOOT_SECTOR, offset=offset))


def _name(partition: FoundPartition) -> str:
    return f"{partition.table} partition {partition.number}"


def _fat_volume(path: Path, place: _Place) -> BootVolume:
    # Firmware does not follow symbolic links, so other entries do not matter.
    tree = open_fat(path, offset=place.offset, size=place.size)
    files = {file.path: file.content for file in tree.files}
    if fat_tables_agree(path, offset=place.offset, size=place.size):
        return BootVolume(place.name, files)
    warning = (
        "the copies of the file allocation table differ; this report follows the first one, as"
        " firmware does: check the volume with fsck.fat"
    )
    return BootVolume(place.name, files, (warning,))


def _iso_files(path: Path) -> dict[str, Content]:
    return {
        f"{folder}/{file.path}": file.content
        for folder in _ISO_FOLDERS
        for file in open_iso9660(path, folder=folder).files
    }
