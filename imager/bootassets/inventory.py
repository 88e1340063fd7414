"""What boot assets are where: for `imager assets list`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from imager.arch import Arch
from imager.bootassets.grub import NORMAL, find_bios_grub, find_efi_grub, grub_version
from imager.bootassets.kernelversion import kernel_version
from imager.bootassets.locate import Asset, BootAssets, asset_places, find_assets
from imager.bootassets.sources import RECORD, read_lock
from imager.errors import ImagerError
from imager.pe import check_pe
from imager.profile.version import DEFAULT_VERSION
from imager.units import format_size

_BANNERS = {
    Asset.SD_BOOT: re.compile(rb"#### LoaderInfo: systemd-boot ([ -~]{1,60}) ####"),
    Asset.SD_STUB: re.compile(rb"#### LoaderInfo: systemd-stub ([ -~]{1,60}) ####"),
}
_LARGEST_EFI = 16 << 20


def describe(arch: Arch, *, given: Path | None) -> Iterator[str]:
    """Yield lines about the places that are looked at and the assets of `arch` in use."""
    assets = find_assets(arch, given=given)
    for place in asset_places(given):
        used = assets.folder is not None and assets.folder in (place, place / arch.name)
        state = "used" if used else "nothing for" if not place.is_dir() else "not used for"
        yield f"{place}: {state} {arch.name}"
    for asset in Asset:
        yield f"  {asset.value:<18} {_state(assets, asset)}"
    yield f"  {f'grub {arch.grub_efi}':<18} {_efi_grub(arch, given)}"
    if arch.grub_bios:
        yield f"  {f'grub {arch.grub_bios}':<18} {_bios_grub(arch, given)}"
    yield f"  {'talos version':<18} {assets.version or f'not told; {DEFAULT_VERSION} is assumed'}"
    if assets.folder is not None and (assets.folder / RECORD).is_file():
        for package in read_lock(assets.folder / RECORD, arch):
            yield f"  from {package.name} {package.version}"


def _state(assets: BootAssets, asset: Asset) -> str:
    try:
        path = assets.path(asset)
        size = format_size(path.stat().st_size)
        version = _version(assets, asset, path)
    except ImagerError as error:
        return error.message
    return f"{size:>10}  {version}  {path}"


def _efi_grub(arch: Arch, given: Path | None) -> str:
    try:
        path = find_efi_grub(arch, given=given)
    except ImagerError as error:
        return error.message
    return _grub_line(path, path.stat().st_size, grub_version(path))


def _bios_grub(arch: Arch, given: Path | None) -> str:
    try:
        folder = find_bios_grub(arch, given=given)
    except ImagerError as error:
        return error.message
    normal = folder / NORMAL
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return _grub_line(folder, size, grub_version(normal) if normal.is_file() else None)


def _grub_line(path: Path, size: int, version: str | None) -> str:
    return f"{format_size(size):>10}  {version or 'unknown version'}  {path}"


def _version(assets: BootAssets, asset: Asset, path: Path) -> str:
    if asset is Asset.INITRAMFS:
        return "-"
    check_pe(path, machine=assets.arch.pe_machine, what=asset.value)
    if asset is Asset.KERNEL:
        return kernel_version(path) or "unknown version"
    with path.open("rb") as file:
        found = _BANNERS[asset].search(file.read(_LARGEST_EFI))
    return found[1].decode("ascii") if found else "unknown version"
