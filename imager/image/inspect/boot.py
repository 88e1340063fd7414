"""Find what firmware can start: boot code, boot images, EFI binaries, and the loaders' menus."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imager.content.extents import Content
from imager.image.inspect.layout import Layout
from imager.image.inspect.menus import MenuItem, grub_menu, isolinux_menu, loader_entry
from imager.image.inspect.model import BootEntry, Firmware
from imager.image.inspect.volumes import Volume

_CODE = 440
_LOADERS = ((b"GRUB ", "GRUB"), (b"isolinux", "isolinux"), (b"SYSLINUX", "syslinux"))
_EFI_NAMES = ("bootx64.efi", "bootaa64.efi", "bootia32.efi", "bootriscv64.efi", "bootarm.efi")
_GRUB_CFG, _LOADER_ENTRIES, _UKIS = "grub.cfg", "loader/entries", "EFI/Linux"
_ISOLINUX = ("isolinux", "syslinux", "boot/isolinux", "boot/syslinux")
_MOST_MENUS = 64
# Each may have to be read whole.
_MOST_FILES = 16


@dataclass(frozen=True, slots=True)
class Menu:
    """The entries of a menu, and the kernels and initramfs that they name, as found."""

    entries: tuple[BootEntry, ...]
    kernels: tuple[tuple[str, str, Content], ...]
    initramfs: tuple[tuple[str, str, Content], ...]


def find_boot(layout: Layout) -> Menu:
    """Return what can be started in an image, in the order in which firmware meets it."""
    entries = [*_boot_code(layout), *_el_torito(layout)]
    kernels: dict[tuple[str, str], Content] = {}
    initramfs: dict[tuple[str, str], Content] = {}
    for volume in layout.volumes:
        entries += _efi_files(volume)
        for by, firmware, path, item in _items(volume):
            entries.append(_entry(volume, by, firmware, path, item))
            for names, found in (((item.kernel,), kernels), (item.initramfs, initramfs)):
                for place, name, content in _resolved(layout, volume, path, names):
                    if len(found) < _MOST_FILES:
                        found[place, name] = content
    return Menu(tuple(entries), _listed(kernels), _listed(initramfs))


def _listed(found: dict[tuple[str, str], Content]) -> tuple[tuple[str, str, Content], ...]:
    return tuple((place, name, content) for (place, name), content in found.items())


def _boot_code(layout: Layout) -> Iterator[BootEntry]:
    code = layout.head[:_CODE]
    if layout.table is None and not layout.is_iso:
        return
    if layout.head[510:512] == b"\x55\xaa" and any(code):
        yield BootEntry(Firmware.BIOS, "MBR", "sector 0", _loader(layout.head[:512]))


def _loader(code: bytes) -> str:
    return next((name for mark, name in _LOADERS if mark in code), "unknown boot code")


def _el_torito(layout: Layout) -> Iterator[BootEntry]:
    for image in layout.boot_images:
        firmware = Firmware.UEFI if image.is_efi else Firmware.BIOS
        path = _path_at(layout, image.offset)
        yield BootEntry(firmware, "El Torito", f"image {image.number}", path or "boot image", path)


def _path_at(layout: Layout, offset: int) -> str:
    """Return the file of the ISO that begins at byte `offset` of the image."""
    iso = next((each for each in layout.volumes if each.file_system.kind == "iso9660"), None)
    if iso is None or offset >= iso.content.size:
        return ""
    begin = [extent.source for extent in iso.content.slice(offset, 1).extents]
    found = (
        path
        for path, content in iso.files.items()
        if begin and content.extents and content.extents[0].source == begin[0]
    )
    return next(found, "")


def _efi_files(volume: Volume) -> Iterator[BootEntry]:
    for path, _ in volume.below("EFI"):
        name = path.rpartition("/")[2].lower()
        if name in _EFI_NAMES:
            yield BootEntry(Firmware.UEFI, "EFI", volume.place, "firmware's default", path)


def _items(volume: Volume) -> Iterator[tuple[str, Firmware | None, str, MenuItem]]:
    """Yield the menu entries of a volume: by which loader, for which firmware, in which file."""
    read = 0
    for path in volume.files:
        folder, _, name = path.rpartition("/")
        lower = name.lower()
        if read >= _MOST_MENUS:
            return
        if lower == _GRUB_CFG:
            items: Sequence[MenuItem] = grub_menu(volume.text(path) or "")
            by, firmware = "GRUB", Firmware.UEFI if folder.lower().startswith("efi") else None
        elif folder.lower() == _LOADER_ENTRIES and lower.endswith(".conf"):
            items = (loader_entry(volume.text(path) or "", name.rpartition(".")[0]),)
            by, firmware = "systemd-boot", Firmware.UEFI
        elif folder.lower() in _ISOLINUX and lower.endswith(".cfg"):
            items = isolinux_menu(volume.text(path) or "")
            by, firmware = "isolinux", Firmware.BIOS
        elif folder.lower() == _UKIS.lower() and lower.endswith(".efi"):
            items = (MenuItem(name, efi=path),)
            by, firmware = "systemd-boot", Firmware.UEFI
        else:
            continue
        read += 1
        for item in items:
            yield by, firmware, path, item


def _entry(
    volume: Volume, by: str, firmware: Firmware | None, path: str, item: MenuItem
) -> BootEntry:
    return BootEntry(
        firmware,
        by,
        volume.place,
        item.title,
        item.efi or path,
        item.kernel,
        item.initramfs,
        item.cmdline,
        item.is_default,
    )


def _resolved(
    layout: Layout, volume: Volume, menu: str, names: Sequence[str]
) -> Iterator[tuple[str, str, Content]]:
    """Yield the files that a menu names: on its own volume, or else on another one."""
    folder = posixpath.dirname(menu)
    for name in filter(None, names):
        paths = (name, posixpath.normpath(f"{folder}/{name}"), f"boot/{name.lstrip('/')}")
        for each in (volume, *layout.volumes):
            found = next(filter(None, (each.find(path) for path in paths)), None)
            if found is not None:
                yield each.place, *found
                break
