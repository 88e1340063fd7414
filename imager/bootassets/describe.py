"""List which boot assets are where (`imager assets list`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imager.bootassets.debian import DebianPackage
from imager.bootassets.find import Asset, BootAssets, asset_places, find_assets
from imager.bootassets.grub import NORMAL, find_bios_grub, find_efi_grub, grub_version
from imager.bootassets.identity import asset_version
from imager.bootassets.sources import RECORD, read_lock
from imager.support.arch import Arch
from imager.support.errors import ImagerError


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that is searched for boot assets, and the result."""

    path: Path
    state: str


@dataclass(frozen=True, slots=True)
class FoundAsset:
    """A boot asset: its file and size in bytes, or the `problem` with it.

    The version is None if it is unknown, empty if files of this kind have none.
    """

    name: str
    path: Path | None = None
    size: int | None = None
    version: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The boot assets of one architecture; `packages` are those that they were built from."""

    arch: Arch
    places: tuple[Place, ...]
    assets: tuple[FoundAsset, ...]
    talos_version: str | None
    packages: tuple[DebianPackage, ...]


def take_inventory(arch: Arch, *, given: Path | None) -> Inventory:
    """Return the boot assets of `arch` in use, and the folders that were searched."""
    assets = find_assets(arch, given=given)
    found = [_asset(assets, asset) for asset in Asset]
    found.append(_found(f"grub {arch.grub_efi}", lambda: _efi_grub(arch, given)))
    if arch.grub_bios:
        found.append(_found(f"grub {arch.grub_bios}", lambda: _bios_grub(arch, given)))
    record = assets.folder and assets.folder / RECORD
    return Inventory(
        arch,
        tuple(Place(place, _state(place, assets)) for place in asset_places(given)),
        tuple(found),
        assets.version,
        read_lock(record, arch) if record and record.is_file() else (),
    )


def _state(place: Path, assets: BootAssets) -> str:
    if assets.folder is not None and assets.folder in (place, place / assets.arch.name):
        return "used"
    return "not used" if place.is_dir() else "missing"


def _asset(assets: BootAssets, asset: Asset) -> FoundAsset:
    def look() -> tuple[Path, int, str | None]:
        path = assets.path(asset)
        version = asset_version(assets, asset)
        known = version or asset is Asset.INITRAMFS
        return path, path.stat().st_size, version if known else None

    return _found(asset.value, look)


def _found(name: str, look: Callable[[], tuple[Path, int, str | None]]) -> FoundAsset:
    try:
        return FoundAsset(name, *look())
    except ImagerError as error:
        return FoundAsset(name, problem=error.message)


def _efi_grub(arch: Arch, given: Path | None) -> tuple[Path, int, str | None]:
    path = find_efi_grub(arch, given=given)
    return path, path.stat().st_size, grub_version(path)


def _bios_grub(arch: Arch, given: Path | None) -> tuple[Path, int, str | None]:
    folder = find_bios_grub(arch, given=given)
    normal = folder / NORMAL
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return folder, size, grub_version(normal) if normal.is_file() else None
