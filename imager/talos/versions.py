"""Everything that depends on the Talos version, in one table.

Sizes are in bytes. Talos calls such rules quirks.
"""

from __future__ import annotations

from dataclasses import dataclass

from imager.support.errors import UnsupportedError
from imager.support.units import MIB
from imager.talos.choices import Bootloader
from imager.talos.version import TalosVersion

IMAGE_CACHE_SINCE = (1, 9)
# A separate document enables the image cache, instead of a field of v1alpha1.
IMAGE_CACHE_CONFIG_SINCE = (1, 14)
# The first release that publishes its image list; before 1.14, the list includes the installer.
BUNDLE_SINCE = (1, 11)
LEGACY_INSTALLER_BEFORE = (1, 14)
# The default installer is the Image Factory's, for the schematic without customization.
_FACTORY_SINCE = (1, 14)
_FACTORY_INSTALLER = (
    "factory.talos.dev/metal-installer/"
    "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
)
_INSTALLER = "ghcr.io/siderolabs/installer"
_BASE_SINCE = (1, 10)


@dataclass(frozen=True, slots=True)
class Quirks:
    """The rules of a Talos version.

    `bootloader` is the default one; `efi_size`, `bios_size` and `boot_size` are the sizes of the
    boot partitions with GRUB;
    `cache_headroom` is the percentage by which IMAGECACHE is larger than the cache's files;
    `bootloader_cleanup`: a node removes the bootloader that it does not use;
    `data_partitions`: disk images include STATE and EPHEMERAL; `reset_entry`: the menu has an
    entry that wipes the installation; `uki_profiles`: that entry is a profile of the UKI;
    `meta_gzip`: META may be compressed on the kernel command line; `unified_installer`: the
    installer image has a UKI rather than a kernel and an initramfs.
    """

    bootloader: Bootloader
    efi_size: int
    bios_size: int
    boot_size: int
    cache_headroom: int
    bootloader_cleanup: bool
    data_partitions: bool
    reset_entry: bool
    uki_profiles: bool
    meta_gzip: bool
    unified_installer: bool

    @property
    def unified_efi_size(self) -> int:
        """The size of EFI with systemd-boot: the sum of the boot partitions with GRUB."""
        return self.efi_size + self.bios_size + self.boot_size


def default_installer(version: TalosVersion) -> str:
    """Return the installer that a machine of `version` installs by default.

    The default does not depend on SecureBoot; such machines must be configured with another one.
    """
    repository = _FACTORY_INSTALLER if version.at_least(*_FACTORY_SINCE) else _INSTALLER
    return f"{repository}:{version.text}"


def base_installer(version: TalosVersion) -> str:
    """Return the image that installer images of `version` build on; its tags begin with `v`."""
    repository = f"{_INSTALLER}-base" if version.at_least(*_BASE_SINCE) else _INSTALLER
    return f"{repository}:v{version.text.removeprefix('v')}"


def require_image_cache(version: TalosVersion) -> None:
    """Raise UnsupportedError unless `version` supports an image cache."""
    if not version.at_least(*IMAGE_CACHE_SINCE):
        since = ".".join(map(str, IMAGE_CACHE_SINCE))
        raise UnsupportedError(
            f"Talos {version.text} has no image cache",
            hint=f"build for Talos v{since}.0 or later, or leave the image cache out",
        )


def fills_in(bootloader: Bootloader | None, version: TalosVersion) -> bool:
    """Whether Talos itself writes `bootloader` into a profile, for any disk."""
    return bootloader in (Bootloader.DUAL_BOOT, quirks(version).bootloader)


def quirks(version: TalosVersion) -> Quirks:
    """Return the rules for `version`."""
    since = version.at_least
    return Quirks(
        bootloader=Bootloader.DUAL_BOOT if since(1, 10) else Bootloader.GRUB,
        efi_size=100 * MIB,
        bios_size=MIB,
        boot_size=2000 * MIB if since(1, 11) else 1000 * MIB,
        cache_headroom=20 if since(1, 13) else 0,
        bootloader_cleanup=since(1, 10),
        data_partitions=not since(1, 8),
        reset_entry=since(1, 4),
        uki_profiles=since(1, 10),
        meta_gzip=since(1, 6, 3),
        unified_installer=since(1, 10),
    )
