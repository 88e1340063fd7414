"""Open the image cache of a build."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from imager.app.container_images import Pulling
from imager.cache.cache import ImageCache
from imager.cache.open import open_cache
from imager.oci.reference import Reference
from imager.profile.inputs import ContainerAsset
from imager.profile.model import Profile
from imager.support.arch import Arch, find_arch
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.support.partials import partial_folder, scratch_folder
from imager.support.reporter import Reporter


def open_build_cache(
    profile: Profile, required: Sequence[Reference], pulling: Pulling, stack: ExitStack
) -> ImageCache | None:
    """Return the image cache of boot media, which has the `required` images; None without one.

    Raises InputError if images are required but there is no cache, and as `open_cache` and
    `Puller.pull`.
    """
    asset = _image_cache(profile, required)
    if asset is None:
        return None
    arch = find_arch(profile.arch)
    if asset.image_ref:
        cache = _pulled(asset, arch, pulling, stack)
    else:
        path = Path(asset.oci_path or asset.tarball_path)
        with pulling.reporter.waiting(f"opening image cache {path}"):
            cache = open_cache(path, arch=arch).cache
    _warn(cache, arch, pulling.reporter)
    cache.require_images(required)
    return cache


def _image_cache(profile: Profile, required: Sequence[Reference]) -> ContainerAsset | None:
    """Return the image cache for boot media, else None.

    Raises InputError if images are `required` but there is no cache.
    """
    asset, kind = profile.input.image_cache, profile.output.kind
    if required and not kind.is_medium:
        raise InputError(
            f"{setting('output.kind', kind.value)} has no image cache for --require-images",
            hint="leave --require-images out, or make an iso, image or usb",
        )
    if required and asset is None:
        raise InputError(
            "--require-images needs an image cache",
            hint=f"give one with {setting('input.imageCache')}",
        )
    return asset if kind.is_medium else None


def _pulled(asset: ContainerAsset, arch: Arch, pulling: Pulling, stack: ExitStack) -> ImageCache:
    """Return the cache in a registry; without a layer cache, it is kept on the output's disk."""
    from imager.cache.pull import Puller

    store = pulling.layer_cache
    if store is None:
        beside = pulling.beside
        store = stack.enter_context(partial_folder(beside) if beside else scratch_folder())
    puller = Puller(pulling.of(asset).settings(), store, pulling.reporter)
    return puller.pull(Reference.parse_strict(asset.image_ref), arch=arch).cache


def _warn(cache: ImageCache, arch: Arch, reporter: Reporter) -> None:
    """Warn of files that are not of the cache, and of images for another platform."""
    if cache.ignored:
        reporter.warn(
            f"{cache.source}: ignored {cache.ignored} files that are not part of an image cache"
        )
    if foreign := cache.foreign(arch):
        names = ", ".join(map(str, foreign))
        reporter.warn(f"{cache.source}: not for {arch.name}, but for another platform: {names}")
