"""Inspect an image: each step reads one kind of thing, and what fails is a note, not an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imager.bootassets.kernelversion import kernel_version
from imager.content.compression import stream_codec
from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.formats.initramfs import is_initramfs
from imager.image.bootvolumes import BootVolume
from imager.image.inspect.boot import Menu, find_boot
from imager.image.inspect.efi import Uki, read_efi
from imager.image.inspect.initramfs import read_initramfs
from imager.image.inspect.layout import Layout, read_layout
from imager.image.inspect.model import (
    BootEntry,
    CacheContents,
    InitramfsInfo,
    Inspection,
    KernelInfo,
    MetaValue,
    SourceInfo,
)
from imager.image.inspect.notes import Depth, Notes
from imager.image.inspect.source import OpenedSource
from imager.image.inspect.volumes import Volume
from imager.talos.constants import META
from imager.talos.meta import COPY_SIZE, read_meta

_HEAD = 1 << 10
_TITLE = re.compile(r"Talos (v\d+\.\d+\.\d+[A-Za-z0-9.+-]*)")
# The volume id of an ISO.
_LABEL = re.compile(r"TALOS_V(\d+)_(\d+)_(\d+)(?:_([A-Z]+)_(\d+))?")
# Other file systems are not read by firmware.
_BOOT_VOLUMES = ("iso9660", "fat12", "fat16", "fat32")
_EFI_FOLDERS = ("efi/", "loader/")


@dataclass(frozen=True, slots=True)
class Inspected:
    """What is in an image, and its opened volumes: a single file has none."""

    inspection: Inspection
    volumes: tuple[Volume, ...]


def inspect_source(source: OpenedSource, *, scratch: Path) -> Inspection:
    """Return what is in an image, as `inspect_volumes` does."""
    return inspect_volumes(source, scratch=scratch).inspection


def inspect_volumes(source: OpenedSource, *, scratch: Path) -> Inspected:
    """Return what is in an image; `scratch` is a folder for temporary files.

    Damaged and unknown parts are in the result. Raises OutputError or OSError if the source cannot
    be read.
    """
    notes = Notes()
    for remark in source.remarks:
        notes.unread(source.name, remark)
    for problem in source.problems:
        notes.damaged(source.name, problem)
    depth = Depth(scratch, is_remote=source.remote is not None)
    result = _single_file(source.content, source.short_name, notes, depth)
    volumes: tuple[Volume, ...] = ()
    if result is None:
        layout = read_layout(source.content, notes)
        result, volumes = _disk(source.content, layout, notes, depth), layout.volumes
    fetched = source.remote.transferred if source.remote else None
    info = SourceInfo(source.name, source.stored, source.formats, fetched)
    found = replace(
        result, source=info, findings=tuple(notes.findings), unknown=tuple(notes.unknown)
    )
    return Inspected(found, volumes)


def _single_file(image: Content, name: str, notes: Notes, depth: Depth) -> Inspection | None:
    """Return what is in a single file, or None for an image with a layout."""
    with ContentReader(image) as reader:
        head = reader.read(0, _HEAD)
    if head.startswith(b"MZ"):
        return _efi_binary(image, name, notes, depth)
    # A compressed image that is still compressed is an initramfs; see `source`.
    if is_initramfs(head) or stream_codec(head):
        info, _ = read_initramfs(image, place=name, path="", notes=notes, depth=depth)
        return replace(_result("initramfs", image), initramfs=(info,))
    return None


def _result(kind: str, image: Content) -> Inspection:
    return Inspection(SourceInfo("", None, ()), kind, image.size, "")


def _efi_binary(image: Content, name: str, notes: Notes, depth: Depth) -> Inspection:
    efi = read_efi([BootVolume("", {name: image})], notes, depth)
    version = ""
    if not efi.ukis:
        with notes.reading(name):
            version = kernel_version(image, name=name)
    kind = "uki" if efi.ukis else "kernel" if version else "efi-binary"
    alone = (KernelInfo("", name, image.size, version),) if version else ()
    return replace(
        _result(kind, image),
        talos=_talos(efi.ukis, (), ()),
        kernels=(*alone, *_uki_kernels(efi.ukis)),
        ukis=tuple(uki.info for uki in efi.ukis),
        initramfs=tuple(_initramfs(_uki_initramfs(efi.ukis), notes, depth)),
        efi=efi.binaries,
    )


def _disk(image: Content, layout: Layout, notes: Notes, depth: Depth) -> Inspection:
    menu = find_boot(layout)
    efi = read_efi([*_boot_volumes(layout.volumes)], notes, depth)
    boot = tuple(_with_ukis(menu.entries, layout.volumes, efi.ukis))
    if not layout.table and not layout.volumes:
        notes.unread("image", "it has neither a partition table nor a known file system")
    return replace(
        _result(_kind(layout), image),
        talos=_talos(efi.ukis, boot, layout.volumes),
        table=layout.table,
        regions=layout.regions,
        partitions=layout.partitions,
        volumes=tuple(volume.info for volume in layout.volumes),
        boot=boot,
        kernels=(*_kernels(menu, notes), *_uki_kernels(efi.ukis)),
        ukis=tuple(uki.info for uki in efi.ukis),
        initramfs=tuple(_initramfs([*menu.initramfs, *_uki_initramfs(efi.ukis)], notes, depth)),
        efi=efi.binaries,
        keys=efi.keys,
        meta=tuple(_meta(image, layout, notes)),
        cache=_cache(layout.volumes, notes),
    )


def _cache(volumes: Sequence[Volume], notes: Notes) -> CacheContents | None:
    """Return the image cache of an image; the room of caches is loaded for one that has it."""
    if not any("manifests" in path for volume in volumes for path in volume.tree.folders):
        return None
    from imager.image.inspect.caches import find_cache

    return find_cache(volumes, notes)


def _kind(layout: Layout) -> str:
    if layout.is_iso:
        return "iso"
    if layout.table:
        return "disk"
    return "filesystem" if layout.volumes else "unknown"


def _boot_volumes(volumes: Iterable[Volume]) -> Iterator[BootVolume]:
    """Yield the files that firmware can start; of an ISO only those not on another volume."""
    known: set[Content] = set()
    for volume in sorted(volumes, key=lambda each: each.file_system.kind == "iso9660"):
        if volume.file_system.kind not in _BOOT_VOLUMES:
            continue
        if volume.is_fat:
            files = dict(volume.files)
        else:
            files = {
                path: content
                for path, content in volume.files.items()
                if path.lower().startswith(_EFI_FOLDERS) and content not in known
            }
        known |= set(files.values())
        if files:
            yield BootVolume(volume.place, files)


def _with_ukis(
    entries: Iterable[BootEntry], volumes: Iterable[Volume], ukis: Iterable[Uki]
) -> Iterator[BootEntry]:
    """Yield the entries; one for each profile instead of one for a UKI."""
    # The same bytes may be in the tree of an ISO, too.
    known = {uki.content: uki.info for uki in ukis}
    files = {volume.place: volume for volume in volumes}
    for entry in entries:
        found = files[entry.place].find(entry.path) if entry.place in files else None
        uki = known.get(found[1]) if found else None
        if uki is None or entry.by != "systemd-boot":
            yield entry
            continue
        fields = uki.os_release
        name = fields.get("PRETTY_NAME") or fields.get("NAME") or entry.title
        for number, profile in enumerate(uki.profiles):
            yield replace(
                entry,
                title=profile.title or name,
                kernel=".linux",
                initramfs=(".initrd",),
                cmdline=profile.cmdline,
                is_default=entry.is_default and not number,
            )


def _kernels(menu: Menu, notes: Notes) -> Iterator[KernelInfo]:
    for place, path, content in menu.kernels:
        version = ""
        with notes.reading(f"{place}: {path}"):
            version = kernel_version(content, name=f"{place}: {path}")
        if not version:
            notes.unread(f"{place}: {path}", "the kernel does not tell its version")
        yield KernelInfo(place, path, content.size, version)


def _uki_kernels(ukis: Iterable[Uki]) -> Iterator[KernelInfo]:
    for uki in ukis:
        info = uki.info
        yield KernelInfo(info.place, f"{info.path} .linux", uki.kernel.size, info.kernel)


def _uki_initramfs(ukis: Iterable[Uki]) -> list[tuple[str, str, Content]]:
    return [
        (uki.info.place, f"{uki.info.path} .initrd", uki.initramfs)
        for uki in ukis
        if uki.initramfs is not None
    ]


def _initramfs(
    found: Iterable[tuple[str, str, Content]], notes: Notes, depth: Depth
) -> Iterator[InitramfsInfo]:
    """Yield what is in each initramfs; one that is in two places is read once."""
    known: dict[Content, InitramfsInfo] = {}
    for place, path, content in found:
        if content not in known:
            known[content], _ = read_initramfs(
                content, place=place, path=path, notes=notes, depth=depth
            )
        yield replace(known[content], place=place, path=path)


def _meta(image: Content, layout: Layout, notes: Notes) -> Iterator[MetaValue]:
    for each in layout.found:
        if each.label != META:
            continue
        with ContentReader(image) as reader:
            found = read_meta(reader.read(each.offset, min(each.size, 2 * COPY_SIZE)))
        for problem in found.problems:
            notes.damaged(META, problem)
        for key, value in sorted(found.values.items()):
            yield MetaValue(key, value)


def _talos(ukis: Iterable[Uki], boot: Iterable[BootEntry], volumes: Iterable[Volume]) -> str:
    """Return the version of Talos, by the UKIs' os-release, the menus' titles or an ISO's label."""
    for uki in ukis:
        fields = uki.info.os_release
        if fields.get("ID") == "talos":
            return fields.get("VERSION_ID", "")
    found = (_TITLE.search(entry.title) for entry in boot)
    if title := next(filter(None, found), None):
        return title[1]
    labels = (_LABEL.fullmatch(volume.file_system.label) for volume in volumes)
    label = next(filter(None, labels), None)
    if label is None:
        return ""
    release = "v" + ".".join(label.groups()[:3])
    return f"{release}-{label[4].lower()}.{label[5]}" if label[4] else release
