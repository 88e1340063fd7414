"""Open the image cache of a build."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from imager.app.container_images import Pulling
from imager.cache.cache import ImageCache
from imager.cache.location import CacheLocation
from imager.cache.pull import Puller
from imager.oci.reference import Reference
from imager.profile.inputs import ContainerAsset
from imager.profile.model import Profile
from imager.support.arch import Arch, find_arch
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.support.partials import partial_folder, scratch_folder


def open_build_cache(
    profile: Profile, required: Sequence[Reference], pulling: Pulling, stack: ExitStack
) -> ImageCache | None:
    """Return the image cache of boot media, which has the `required` images; None without one.

    Raises InputError if images are required but there is no cache, and as `CacheLocation.open`.
    """
    asset = _image_cache(profile, required)
    if asset is None:
        return None
    return _open(asset, _puller(asset, pulling, stack), find_arch(profile.arch), required)


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


def _puller(asset: ContainerAsset, pulling: Pulling, stack: ExitStack) -> Puller:
    """Return the Puller of the cache; without a layer cache it writes to the output's disk."""
    store = pulling.layer_cache
    if store is None:
        beside = pulling.beside if asset.image_ref else None
        store = stack.enter_context(partial_folder(beside) if beside else scratch_folder())
    return Puller(pulling.of(asset).registries, store, pulling.reporter)


def _open(
    asset: ContainerAsset, puller: Puller, arch: Arch, required: Sequence[Reference]
) -> ImageCache:
    reporter = puller.reporter
    if asset.image_ref:
        location = CacheLocation(Reference.parse_strict(asset.image_ref))
        waiting: AbstractContextManager[None] = nullcontext()
    else:
        location = CacheLocation(Path(asset.oci_path or asset.tarball_path))
        waiting = reporter.waiting(f"opening image cache {location.place}")
    with waiting:
        cache = location.open(puller, arch=arch).cache
    if cache.ignored:
        reporter.warn(
            f"{cache.source}: ignored {cache.ignored} files that are not part of an image cache"
        )
    if foreign := cache.foreign(arch):
        names = ", ".join(map(str, foreign))
        reporter.warn(f"{cache.source}: not for {arch.name}, but for another platform: {names}")
    cache.require_images(required)
    return cache
