"""Find the volumes of an image that firmware boots from: EFI system partitions and boot images.

UEFI 2.10, 13.3: firmware boots from the FAT volume of an EFI system partition (GPT or MBR), of an
El Torito boot image, or of a medium without partitions. The EFI and loader folders of an ISO's own
file system count too: they boot when copied to a stick (which only has to be FAT).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imager.content.compression import codec_of
from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.formats.eltorito import read_boot_images
from imager.formats.fat.geometry import is_fat
from imager.formats.fat.read import fat_tables_agree, open_fat
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


def find_boot_volumes(image: Content, name: str) -> tuple[BootVolume, ...]:
    """Return the volumes in `image` that firmware may boot from; `name` is for messages.

    Omits files of an ISO's tree whose bytes are also a file in another volume. Raises InputError
    for an image without such a volume, or with a damaged one, and OutputError if the file cannot be
    read.
    """
    with ContentReader(image) as reader:
        return tuple(_Image(image, name, reader).volumes())


@dataclass(frozen=True, slots=True)
class _Image:
    """An image that is being read."""

    content: Content
    name: str
    reader: ContentReader

    def volumes(self) -> list[BootVolume]:
        head = self.reader.read(0, HEAD)
        codec = codec_of(head)
        if codec is not None:
            command = f"{codec.value} -d {shlex.quote(self.name)}"
            raise InputError(f"{self.name} is compressed", hint=f"decompress it first: {command}")
        places = {place.offset: place for place in reversed([*self._places(head)])}
        volumes = [self._fat_volume(places[offset]) for offset in sorted(places)]
        if is_iso9660(head):
            known = {content for volume in volumes for content in volume.files.values()}
            files = {name: each for name, each in self._iso_files().items() if each not in known}
            if files:
                volumes.append(BootVolume("ISO 9660 tree", files))
        if not volumes:
            raise InputError(
                f"{self.name}: found neither an EFI binary nor an EFI system partition, an El "
                "Torito boot image or a FAT file system",
                hint="give an EFI binary, an ISO or a raw disk image",
            )
        return volumes

    def _places(self, head: bytes) -> Iterator[_Place]:
        """Yield the positions of FAT volumes for firmware; a position may occur twice."""
        partitions = find_partitions(self.content, head, name=self.name)
        esps = [each for each in partitions if each.is_esp]
        for each in esps:
            yield self._checked(_Place(f"{_name(each)} (ESP)", each.offset, each.size))
        if is_iso9660(head):
            yield from self._boot_images()
        if is_fat(head):
            yield _Place("FAT volume", 0)
        if not esps:
            # On a removable disk, firmware also reads partitions of other types.
            for each in partitions:
                if self._is_fat(each.offset):
                    yield _Place(_name(each), each.offset, each.size)

    def _boot_images(self) -> Iterator[_Place]:
        for image in read_boot_images(self.content, name=self.name):
            place = _Place(f"El Torito image {image.number}", image.offset)
            if image.is_efi:
                yield self._checked(place)
            elif self._is_fat(image.offset):
                yield place

    def _checked(self, place: _Place) -> _Place:
        if not self._is_fat(place.offset):
            raise InputError(
                f"{self.name}: {place.name} is for UEFI, but has no FAT file system",
                hint="build or download the image again",
            )
        return place

    def _is_fat(self, offset: int) -> bool:
        return is_fat(self.reader.read(offset, _BOOT_SECTOR))

    def _fat_volume(self, place: _Place) -> BootVolume:
        offset, size = place.offset, place.size
        # Firmware does not follow symbolic links, so other entries do not matter.
        tree = open_fat(self.content, offset=offset, size=size, name=self.name)
        files = {file.path: file.content for file in tree.files}
        if fat_tables_agree(self.content, offset=offset, size=size, name=self.name):
            return BootVolume(place.name, files)
        warning = (
            "the copies of the file allocation table differ; this report follows the first one, as"
            " firmware does: check the volume with fsck.fat"
        )
        return BootVolume(place.name, files, (warning,))

    def _iso_files(self) -> dict[str, Content]:
        return {
            f"{folder}/{file.path}": file.content
            for folder in _ISO_FOLDERS
            for file in open_iso9660(self.content, folder=folder, name=self.name).files
        }


def _name(partition: FoundPartition) -> str:
    return f"{partition.table} partition {partition.number}"
