"""Build the unified kernel images of a boot menu's entries."""

from __future__ import annotations

from imager.bootassets.kernelimage import knows_profiles, unified_kernel_image
from imager.content.extents import Content
from imager.content.tree import File
from imager.efi.uki_sections import UkiProfile, os_release
from imager.image.bootloader.boot import BootTarget, MenuEntry

_NAME = "the unified kernel image"


def unified_image(target: BootTarget) -> Content:
    """Return one UKI: the default entry, with the others as profiles if supported.

    Raises InputError if a boot asset is missing or invalid.
    """
    return _unified(target, _groups(target)[0])


def unified_images(target: BootTarget) -> tuple[File, ...]:
    """Return the UKIs of all entries: one with profiles if supported, else one each.

    Their paths follow the boot loader specification; the default comes first. Raises InputError if
    a boot asset is missing or invalid.
    """
    return tuple(
        File(f"EFI/Linux/{_file_name(target, entries[0])}", _unified(target, entries))
        for entries in _groups(target)
    )


def _groups(target: BootTarget) -> list[tuple[MenuEntry, ...]]:
    """Return the entries, grouped by UKI."""
    if _has_profiles(target):
        return [target.entries]
    return [(entry,) for entry in target.entries]


def _has_profiles(target: BootTarget) -> bool:
    return target.build.quirks.uki_profiles and knows_profiles(target.build.assets)


def _file_name(target: BootTarget, entry: MenuEntry) -> str:
    """Return the file name of the UKI whose first entry is `entry`.

    A rollback starts any other `Talos-*.efi` that it finds, so only the default UKI has such a
    name. systemd-boot lists the others after it.
    """
    prefix = "" if entry is target.entries[0] else f"{entry.name}-"
    return f"{prefix}Talos-{target.build.version.text}.efi"


def _unified(target: BootTarget, entries: tuple[MenuEntry, ...]) -> Content:
    first, *others = entries
    secure_boot = target.build.secure_boot
    profiles = tuple(UkiProfile(entry.name, entry.title, entry.cmdline) for entry in others)
    image = unified_kernel_image(
        target.build.assets,
        release=os_release(version=target.build.version.text, title=first.title),
        cmdline=first.cmdline,
        profiles=profiles if _has_profiles(target) else None,
        pcr_signer=secure_boot.pcr_signer if secure_boot else None,
    )
    if secure_boot is None:
        return image
    from imager.efi.authenticode import sign_pe

    return sign_pe(image, secure_boot.signer, name=_NAME)
