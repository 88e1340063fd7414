"""One UKI from the boot assets of a target."""

from __future__ import annotations

from imager.bootassets.locate import Asset, BootAssets
from imager.bootassets.pe import check_pe
from imager.bootassets.uki import UkiParts, kernel_version, os_release, plan_uki, uki_sections
from imager.extents import Content

_WHAT = {Asset.KERNEL: "kernel", Asset.SD_BOOT: "systemd-boot", Asset.SD_STUB: "systemd-stub"}


def efi_asset(assets: BootAssets, asset: Asset) -> Content:
    """Return a boot asset that must be an EFI binary of the assets' architecture.

    Raises InputError when it is missing or is none.
    """
    path = assets.path(asset)
    check_pe(path, machine=assets.arch.pe_machine, what=_WHAT[asset])
    return Content.of_file(path)


def unified_kernel_image(assets: BootAssets, *, version: str, cmdline: str) -> Content:
    """Return the UKI of kernel, initramfs and `cmdline`, `version` being its name in menus.

    Raises InputError when an asset is missing or not what it should be.
    """
    stub = assets.path(Asset.SD_STUB)
    check_pe(stub, machine=assets.arch.pe_machine, what=_WHAT[Asset.SD_STUB])
    parts = UkiParts(
        os_release=os_release(version=version),
        cmdline=cmdline,
        kernel=efi_asset(assets, Asset.KERNEL),
        initramfs=Content.of_file(assets.path(Asset.INITRAMFS)),
        uname=kernel_version(assets.path(Asset.KERNEL)),
    )
    return plan_uki(stub, uki_sections(parts))
