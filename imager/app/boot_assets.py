"""Find the boot assets of a build: in a folder, or out of a container image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from imager.app.container_images import Pulling, place_of
from imager.bootassets.find import Asset, BootAssets, find_assets, image_folder
from imager.oci.location import may_be_image
from imager.oci.reference import Reference
from imager.profile.inputs import ContainerAsset
from imager.profile.model import Profile
from imager.support.arch import Arch, find_arch
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.support.partials import scratch_folder
from imager.talos.choices import OutputKind
from imager.talos.version import DEFAULT_VERSION, TalosVersion


def boot_assets(
    profile: Profile,
    files: Mapping[Asset, Path],
    place: Path | Reference | None,
    pulling: Pulling,
    stack: ExitStack,
) -> BootAssets:
    """Return the boot assets for `profile`: single `files`, and those of one folder or image.

    `place` is a folder, an image on this machine or a reference; None stands for the usual folders.
    The base installer of the profile is used only if no boot assets are found on this machine:
    Talos prints one into every profile. Temporary files are removed when `stack` is closed. Raises
    as `find_assets`, `ImageRoot.open` and `take_assets`.
    """
    arch = find_arch(profile.arch)
    if place is None:
        assets = find_assets(arch, files=files)
        base = profile.input.base_installer
        if base is None or not _lacks_assets(assets, profile):
            return assets
        place, pulling = _place_of(base), pulling.of(base)
    return replace(placed_assets(arch, place, pulling, stack), given=files)


def placed_assets(
    arch: Arch, place: Path | Reference, pulling: Pulling, stack: ExitStack
) -> BootAssets:
    """Return the boot assets in the folder or image at `place`; see `boot_assets`."""
    if isinstance(place, Path) and not may_be_image(place):
        return find_assets(arch, given=place)
    from imager.app.assets_of_image import Taking

    kept = kept_folder(image_folder(), stack)
    return Taking(arch, pulling.puller(stack), kept).take(place)


def asset_notes(profile: Profile, assets: BootAssets) -> Iterator[str]:
    """Yield notes on the image that `assets` are from, and on a base installer without effect."""
    if assets.image:
        yield f"boot assets are those of {assets.image}"
    base = profile.input.base_installer
    builds_on_it = profile.output.kind is OutputKind.INSTALLER
    if base is not None and not builds_on_it and assets.origin != _place_of(base):
        place = assets.image or assets.folder
        why = f"boot assets are in {place}" if place else "nothing is taken from it"
        yield f"{setting('input.baseInstaller')} is left out: {why}"


def talos_version(profile: Profile, assets: BootAssets) -> TalosVersion:
    """Return the Talos version of the profile, or else of the boot assets, or else the default."""
    if profile.version or not assets.version:
        return TalosVersion.parse(profile.version or DEFAULT_VERSION)
    try:
        return TalosVersion.parse(assets.version)
    except InputError as error:
        raise InputError(
            f"the version file beside the boot assets in {assets.folder}: {error.message}",
            hint=f"correct it, or give {setting('version')}",
        ) from error


def _lacks_assets(assets: BootAssets, profile: Profile) -> bool:
    """Whether something of the output must come from a folder or image, and there is none."""
    whole = assets.folder is not None or assets.given.keys() >= set(Asset)
    return not whole and profile.output.kind is not OutputKind.CMDLINE


def _place_of(asset: ContainerAsset) -> Path | Reference:
    if asset.image_ref:
        return Reference.parse_strict(asset.image_ref)
    return Path(place_of(asset))


def kept_folder(folder: Path, stack: ExitStack) -> Path:
    """Return `folder` in the user's cache, or a temporary one if it cannot be written."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return folder
    return stack.enter_context(scratch_folder())
