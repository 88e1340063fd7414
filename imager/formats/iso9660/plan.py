"""Plan ISO 9660 images with Rock Ridge, Joliet and El Torito; file data is used in place.

Specifications: ECMA-119 (ISO 9660, https://ecma-international.org/publications-and-standards/
standards/ecma-119/), SUSP and RRIP 1.10, Joliet (`joliet.py`), El Torito 1.0, UEFI 2.10 section
13.3.2 for its use by UEFI. Data is stored in tree order, so that one forward pass over a source
suffices.
"""

from __future__ import annotations

import enum
import gc
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from imager.content.extents import Content
from imager.content.reading import read_content
from imager.content.tree import File, PlacedFile, Tree, VolumePlan, name_of
from imager.formats.errors import VolumeTooSmallError
from imager.formats.iso9660.identifiers import IsoTree, plan_tree
from imager.formats.iso9660.joliet import JolietTree
from imager.formats.iso9660.metadata import SYSTEM_AREA, IsoMetadata, pinned_clock
from imager.support.units import CD_SECTOR, align_up

_BOOT_CATALOG = "boot.cat"
# In the boot record, which is in sector 17 (El Torito 1.0, figure 7).
_CATALOG_POINTER = 17 * CD_SECTOR + 0x47
_BOOT_INFO_END = 64
_LARGEST_LOAD = 0xFFFF
# Files whose records are worth a search of the whole memory for cycles
_MANY = 1000
# Sector numbers have 32 bits; the margin is ample for the metadata of 65,535 directories.
_LARGEST = ((1 << 32) - (1 << 20)) * CD_SECTOR


class BootPlatform(enum.IntEnum):
    """El Torito platform ids."""

    BIOS = 0x00
    EFI = 0xEF


@dataclass(frozen=True, slots=True)
class IsoAlias:
    """A second name, `path`, for `length` bytes at `offset` in the file `target`.

    `offset` is a multiple of 2048. The bytes are stored only once.
    """

    path: str
    target: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class BootEntry:
    """A no-emulation El Torito entry for the file `path`.

    `load_size` counts 512-byte sectors, at most 65,535; UEFI interprets 0 and 1 as "to the end of
    the medium". `boot_info_table` writes mkisofs's table over bytes 8 to 63 of the file, which
    is then read into memory.
    """

    path: str
    platform: BootPlatform
    load_size: int
    boot_info_table: bool = False


@dataclass(frozen=True, slots=True)
class IsoPlan(VolumePlan):
    """The image; `renamed` are the paths whose last part has a different name in Joliet.

    `others` are the files that are not in the tree: aliases, and the boot catalog.
    """

    renamed: tuple[str, ...]
    others: tuple[PlacedFile, ...]


def plan_iso(
    tree: Tree,
    *,
    volume_id: str,
    timestamp: int,
    boot: Sequence[BootEntry] = (),
    aliases: Sequence[IsoAlias] = (),
) -> IsoPlan:
    """Return an ISO 9660 image of `tree`, with `aliases` in addition to its files.

    `volume_id` is 1 to 32 of the characters A-Z, 0-9 and `_`. `timestamp` (seconds since 1970) is
    the time of all entries; files have mode 0444, directories 0555, and root owns all of them. The
    first entry of `boot` is the default one; if there are any, the tree (but not Joliet's) also
    contains the file `boot.cat`. The size is a multiple of 2048 and equals the volume space size.

    Raises InputError for invalid or conflicting paths and more than 8 TiB; ValueError for boot
    entries and aliases that do not match the files.
    """
    if sum(align_up(file.content.size, CD_SECTOR) for file in tree.files) > _LARGEST:
        raise VolumeTooSmallError("the files exceed the size limit of an ISO, 8 TiB")
    lengths = {file.path: file.content.size for file in tree.files}
    _check_fit(boot, aliases, lengths)
    named = tree.joined(Tree.of(File(alias.path, Content(alias.length)) for alias in aliases))
    catalog = Tree.of([File(_BOOT_CATALOG, Content(0))] if boot else [])
    identifiers, joliet = plan_tree(named.joined(catalog)), JolietTree.of(named)
    with pinned_clock(timestamp):
        metadata = IsoMetadata(volume_id)
        _add_files(metadata, identifiers, tree.files)
        _add_aliases(metadata, identifiers, aliases, tree.files)
        _add_boot(metadata, identifiers, boot)
        places = metadata.place(joliet.size)
        descriptor = joliet.descriptor(
            start=places.reserved,
            volume_id=volume_id,
            volume_size=places.size,
            timestamp=timestamp,
        )
        primary = metadata.record(places.reserved, descriptor)
    del metadata
    if len(lengths) > _MANY:
        # pycdlib's records have reference cycles, with some KiB for each file.
        gc.collect()
    offsets = dict(zip(lengths, places.files, strict=True))
    offsets |= {alias.path: offsets[alias.target] + alias.offset for alias in aliases}
    second = joliet.record(start=places.reserved, offsets=offsets, timestamp=timestamp)
    placed = [(0, primary), (places.reserved, Content.of_bytes(second))]
    placed += ((offsets[file.path], file.content) for file in _patched(tree.files, boot, offsets))
    return IsoPlan(
        Content.compose(places.size, placed),
        tuple(PlacedFile(path, offsets[path], length) for path, length in lengths.items()),
        tuple(joliet.names),
        (
            *(PlacedFile(alias.path, offsets[alias.path], alias.length) for alias in aliases),
            *((_placed_catalog(primary),) if boot else ()),
        ),
    )


def _placed_catalog(metadata: Content) -> PlacedFile:
    """Return the place of the boot catalog, one sector, that the boot record names."""
    (sector,) = struct.unpack("<I", read_content(metadata.slice(_CATALOG_POINTER, 4)))
    return PlacedFile(_BOOT_CATALOG, sector * CD_SECTOR, CD_SECTOR)


def _check_fit(
    boot: Sequence[BootEntry], aliases: Sequence[IsoAlias], sizes: Mapping[str, int]
) -> None:
    for alias in aliases:
        end = alias.offset + alias.length
        size = sizes.get(alias.target, -1)
        if alias.offset % CD_SECTOR or min(alias.offset, alias.length) < 0 or end > size:
            raise ValueError(f"{alias} is not aligned or not inside of its target")
    for entry in boot:
        if not sizes.get(entry.path) or not 0 <= entry.load_size <= _LARGEST_LOAD:
            raise ValueError(f"{entry} has no file, an empty one, or cannot be loaded")


def _add_files(metadata: IsoMetadata, tree: IsoTree, files: Sequence[File]) -> None:
    for path, identifier in tree.directories.items():
        metadata.add_directory(identifier, name_of(path))
    for file in files:
        metadata.add_file(tree.files[file.path], name_of(file.path), file.content.size)


def _add_aliases(
    metadata: IsoMetadata, tree: IsoTree, aliases: Sequence[IsoAlias], files: Sequence[File]
) -> None:
    numbers = {file.path: number for number, file in enumerate(files)}
    for alias in aliases:
        span = (alias.offset, alias.length)
        identifier = tree.files[alias.path]
        metadata.add_alias(identifier, name_of(alias.path), numbers[alias.target], span)


def _add_boot(metadata: IsoMetadata, tree: IsoTree, boot: Sequence[BootEntry]) -> None:
    for entry in boot:
        metadata.add_boot_entry(
            tree.files[entry.path],
            catalog=(tree.files[_BOOT_CATALOG], _BOOT_CATALOG),
            platform=entry.platform,
            load_size=entry.load_size,
        )


def _patched(
    files: Iterable[File], boot: Iterable[BootEntry], offsets: Mapping[str, int]
) -> Iterator[File]:
    """Yield the files, with a boot info table in those whose boot entry requests it."""
    with_table = {entry.path for entry in boot if entry.boot_info_table}
    for file in files:
        if file.path in with_table:
            yield replace(file, content=_with_boot_info(file.content, offsets[file.path]))
        else:
            yield file


def _with_boot_info(content: Content, offset: int) -> Content:
    """Return the boot file with the table of mkisofs -boot-info-table.

    Four 32-bit numbers: the sectors of the primary volume descriptor and of the file, the file's
    length, and the sum of its 32-bit words from byte 64 on; then zeros.
    """
    data = bytearray(read_content(content))
    if len(data) < _BOOT_INFO_END:
        raise ValueError("a boot file of less than 64 bytes has no room for a boot info table")
    words = bytes(data[_BOOT_INFO_END:]) + bytes(-len(data) % 4)
    total = sum(struct.unpack(f"<{len(words) // 4}I", words)) & 0xFFFFFFFF
    table = struct.pack("<4I40x", SYSTEM_AREA // CD_SECTOR, offset // CD_SECTOR, len(data), total)
    data[8:_BOOT_INFO_END] = table
    return Content.of_bytes(bytes(data))
