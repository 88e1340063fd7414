"""Find boot assets: a folder in the layout of Talos's installer and imager images.

    <folder>/<arch>/{vmlinuz,initramfs.xz,systemd-boot.efi,systemd-stub.efi}, and `version`

The folder itself may also be the architecture's. The first folder with any of the files is used:
assets of two folders are never mixed, since an initramfs fits only one kernel.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imager.bootassets.errors import BootAssetError
from imager.content.extents import Content
from imager.oci.reference import Reference
from imager.support.arch import Arch
from imager.support.fields import setting

INSTALLED = Path("/usr/install")
ENVIRONMENT = "IMAGER_ASSETS"
VERSION_FILE = "version"


class Asset(enum.Enum):
    """A boot asset, by its file name."""

    KERNEL = "vmlinuz"
    INITRAMFS = "initramfs.xz"
    SD_BOOT = "systemd-boot.efi"
    SD_STUB = "systemd-stub.efi"


# The profile fields that name a single boot asset.
FIELDS = {
    Asset.KERNEL: "input.kernel",
    Asset.INITRAMFS: "input.initramfs",
    Asset.SD_BOOT: "input.sdBoot",
    Asset.SD_STUB: "input.sdStub",
}


@dataclass(frozen=True, slots=True)
class BootAssets:
    """The boot assets of one architecture: those in `folder`, overridden by `given`.

    `place` is the folder that was searched: `folder`, or its parent. `image` names the image that
    they were taken from, with its digest, `origin` is where the user named it, and `tagged` the
    Talos version in its tag. `extended` is the initramfs with what the build adds, used instead of
    the file.
    """

    arch: Arch
    folder: Path | None
    given: Mapping[Asset, Path]
    place: Path | None = None
    image: str = ""
    origin: Path | Reference | None = None
    tagged: str | None = None
    extended: Content | None = None

    def path(self, asset: Asset) -> Path:
        """Return the path of `asset`; raises InputError, with a hint how to get it, if missing."""
        path = self.given.get(asset) or (self.folder / asset.value if self.folder else None)
        if path is not None and path.is_file():
            return path
        if path is not None and self.image and asset not in self.given:
            raise BootAssetError(
                f"boot asset {asset.value} for {self.arch.name}: not in {self.image}",
                hint="installers since Talos 1.10 have a unified kernel image instead: give the "
                f"image of Talos's imager, or {setting(FIELDS[asset])}",
            )
        where = f"{path} does not exist" if path else "no boot assets were found"
        raise BootAssetError(
            f"boot asset {asset.value} for {self.arch.name}: {where}",
            hint=f"run `imager assets fetch --arch {self.arch.name}`, or give a folder "
            "or image with --assets, such as ghcr.io/siderolabs/imager:v1.9.0",
        )

    @property
    def version(self) -> str | None:
        """The Talos version in the file `version` next to the assets, else in the image's tag."""
        if self.folder is None:
            return None
        for folder in (self.folder, self.folder.parent):
            file = folder / VERSION_FILE
            if file.is_file():
                return file.read_text("utf-8", "replace")[:64].strip() or None
        return self.tagged


def _user_cache_folder() -> Path:
    """Return our folder in the user's cache (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    if not Path(base).is_absolute():
        base = str(Path(os.environ.get("HOME") or "/nonexistent") / ".cache")
    return Path(base) / "imager"


def fetch_folder() -> Path:
    """Return the default target folder of `imager assets fetch`."""
    environment = os.environ.get(ENVIRONMENT)
    return Path(environment) if environment else _user_cache_folder() / "assets"


def package_folder() -> Path:
    """Return the folder for downloaded packages."""
    return _user_cache_folder() / "packages"


def image_folder() -> Path:
    """Return the folder for boot assets taken out of images."""
    return _user_cache_folder() / "images"


def extension_folder() -> Path:
    """Return the folder for system extensions: their layers, and what they are rebuilt into."""
    return _user_cache_folder() / "extensions"


def asset_places(given: Path | None) -> Iterator[Path]:
    """Yield the folders to search, in order; only `given` if it is set.

    For boot assets, $IMAGER_ASSETS is then the only one: see `find_assets`.
    """
    if given is not None:
        yield given
        return
    environment = os.environ.get(ENVIRONMENT)
    if environment:
        yield Path(environment)
    yield INSTALLED
    yield _user_cache_folder() / "assets"


def find_assets(
    arch: Arch, *, given: Path | None = None, files: Mapping[Asset, Path] | None = None
) -> BootAssets:
    """Return the boot assets for `arch`: single `files`, and the first folder with any asset.

    Raises InputError if `given`, or else the folder in the environment, has no assets: if the
    user names a folder, no other is searched.
    """
    if given is not None and not given.is_dir():
        raise BootAssetError(
            f"--assets {given} is not a folder",
            hint="give a folder such as /usr/install of a Talos imager image, or such an image: an "
            "archive, an OCI layout, or a reference with a tag",
        )
    named = os.environ.get(ENVIRONMENT) if given is None else None
    for place in [Path(named)] if named else asset_places(given):
        for folder in (place / arch.name, place):
            if any((folder / asset.value).is_file() for asset in Asset):
                return BootAssets(arch, folder, files or {}, place)
    if named:
        what = "has no boot assets for " + arch.name if Path(named).is_dir() else "is not a folder"
        raise BootAssetError(
            f"{ENVIRONMENT}={named} {what}",
            hint=f"run `imager assets fetch --arch {arch.name}`, which fills it, or unset it",
        )
    return BootAssets(arch, given, files or {}, given)
