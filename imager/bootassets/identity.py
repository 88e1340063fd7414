"""Identify boot assets: their versions, and whether they are the trial default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imager.bootassets.find import Asset, BootAssets
from imager.bootassets.kernelversion import kernel_version
from imager.bootassets.sources import RECORD
from imager.content.extents import Content
from imager.efi.pe import check_pe
from imager.efi.systemd import Part, version_text
from imager.support.errors import ImagerError

_PARTS: Mapping[Asset, Part] = {Asset.SD_BOOT: "boot", Asset.SD_STUB: "stub"}
_SYSTEM = (Asset.KERNEL, Asset.INITRAMFS)


@dataclass(frozen=True, slots=True)
class AssetIdentity:
    """The versions of boot assets, empty if unknown.

    `talos` is the content of the file `version` next to them; `trial` is set if kernel or initramfs
    are the default that `imager assets fetch` builds, which is not Talos.
    """

    folder: Path | None
    kernel: str
    sd_boot: str
    sd_stub: str
    talos: str
    trial: bool


def identify(assets: BootAssets) -> AssetIdentity:
    """Identify `assets`; a missing or damaged one has no version."""

    def version(asset: Asset) -> str:
        try:
            return asset_version(assets, asset)
        except (ImagerError, OSError):
            return ""

    return AssetIdentity(
        folder=assets.folder,
        kernel=version(Asset.KERNEL),
        sd_boot=version(Asset.SD_BOOT),
        sd_stub=version(Asset.SD_STUB),
        talos=assets.version or "",
        trial=any(_is_fetched(assets, asset) for asset in _SYSTEM),
    )


def asset_version(assets: BootAssets, asset: Asset) -> str:
    """Return the version that is embedded in `asset`, empty if there is none.

    Raises InputError if the asset is missing or not an EFI binary.
    """
    path = assets.path(asset)
    if asset is Asset.INITRAMFS:
        return ""
    check_pe(path, machine=assets.arch.pe_machine, what=asset.value)
    if asset is Asset.KERNEL:
        return kernel_version(path)
    return version_text(Content.of_file(path), _PARTS[asset])


def _is_fetched(assets: BootAssets, asset: Asset) -> bool:
    try:
        return (assets.path(asset).parent / RECORD).is_file()
    except ImagerError:
        return False
