"""Build a UKI from boot assets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imager.bootassets.errors import BootAssetError
from imager.bootassets.find import Asset, BootAssets
from imager.bootassets.kernelversion import kernel_version
from imager.content.extents import Content
from imager.efi.pe import check_pe
from imager.efi.systemd import version_number

if TYPE_CHECKING:
    from imager.efi.signer import KeySigner
    from imager.efi.uki_sections import UkiProfile

# systemd's release notes; older stubs use the last command line in the UKI.
_PROFILES_SINCE = 257
_WHAT = {Asset.KERNEL: "kernel", Asset.SD_BOOT: "systemd-boot", Asset.SD_STUB: "systemd-stub"}


def efi_asset(assets: BootAssets, asset: Asset) -> Content:
    """Return a boot asset that must be an EFI binary for the assets' architecture.

    Raises InputError if it is missing or invalid.
    """
    path = assets.path(asset)
    check_pe(path, machine=assets.arch.pe_machine, what=_WHAT[asset])
    return Content.of_file(path)


def initramfs_asset(assets: BootAssets) -> Content:
    """Return the initramfs; raises InputError if it is missing or empty."""
    if assets.extended is not None:
        return assets.extended
    path = assets.path(Asset.INITRAMFS)
    content = Content.of_file(path)
    if not content.size:
        raise BootAssetError(
            f"boot asset {path} is empty", hint="run `imager assets fetch`, or copy it again"
        )
    return content


def knows_profiles(assets: BootAssets) -> bool:
    """Whether the stub supports UKI profiles; raises InputError if it is missing."""
    stub = Content.of_file(assets.path(Asset.SD_STUB))
    return version_number(stub, "stub") >= _PROFILES_SINCE


def unified_kernel_image(
    assets: BootAssets,
    *,
    release: str,
    cmdline: str,
    profiles: tuple[UkiProfile, ...] | None = None,
    pcr_signer: KeySigner | None = None,
) -> Content:
    """Return the UKI of kernel, initramfs and `cmdline`; `release` is its os-release(5) file.

    `profiles` follow the profile `main`; use None for stubs without support for profiles. With
    `pcr_signer` the UKI has `.pcrpkey` and `.pcrsig`, so that a TPM releases secrets only to
    images signed with the key; this reads kernel and initramfs. Raises InputError if an asset is
    missing or invalid, UnsupportedError if the stub's measurements are unknown.
    """
    from imager.efi.uki import plan_uki
    from imager.efi.uki_sections import UkiParts, uki_sections

    stub = assets.path(Asset.SD_STUB)
    check_pe(stub, machine=assets.arch.pe_machine, what=_WHAT[Asset.SD_STUB])
    parts = UkiParts(
        os_release=release,
        cmdline=cmdline,
        kernel=efi_asset(assets, Asset.KERNEL),
        initramfs=initramfs_asset(assets),
        uname=kernel_version(assets.path(Asset.KERNEL)),
        profiles=profiles,
    )
    if pcr_signer is None:
        return plan_uki(stub, uki_sections(parts))
    from imager.efi.measured import with_signatures
    from imager.efi.pcr import public_key_pem

    sections = uki_sections(replace(parts, pcr_public_key=public_key_pem(pcr_signer)))
    return plan_uki(stub, with_signatures(stub, sections, pcr_signer))
