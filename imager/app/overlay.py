"""What a profile's overlay adds: its base, firmware, kernel arguments, a layer of installers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from imager.app.container_images import Pulling
from imager.app.overlay_image import (
    SMALLEST_PROFILE,
    OverlayImage,
    open_overlay_image,
    runnable,
)
from imager.image.errors import OverlayFailedError
from imager.image.overlay import (
    InstalledOverlay,
    Overlay,
    ask_overlay,
    install_overlay,
)
from imager.profile.inputs import ContainerAsset
from imager.profile.load import Layer, load_profile, read_builtin
from imager.profile.model import Profile
from imager.profile.names import builtin_names
from imager.support.arch import find_arch
from imager.support.errors import InputError, InvalidProfileError
from imager.support.fields import Location, dotted, setting
from imager.support.partials import scratch_folder
from imager.talos.choices import OutputKind


@dataclass(frozen=True, slots=True)
class OpenedProfile:
    """A profile, and the overlay image that its base may be in; None without an overlay."""

    profile: Profile
    overlay: OverlayImage | None


@contextmanager
def opened_profile(
    layers: Sequence[Layer],
    pulling: Pulling,
    *,
    source: str,
    name: Callable[[Location], str] = dotted,
) -> Iterator[OpenedProfile]:
    """Yield the profile of `layers`, like `load_profile`, whose base may be in an overlay image.

    The image is valid inside the block. Raises as `load_profile` and `OverlayImage.base`, and for
    an overlay image that cannot be opened.
    """
    with ExitStack() as stack:
        asset = _image_of(layers, source=source, name=name)
        image = open_overlay_image(asset, runnable(), pulling, stack) if asset else None
        bases = image.base if image else None
        profile = load_profile(*layers, source=source, name=name, bases=bases)
        yield OpenedProfile(profile, image)


def _image_of(
    layers: Sequence[Layer], *, source: str, name: Callable[[Location], str]
) -> ContainerAsset | None:
    """Return the overlay image of a profile's layers, whose base may be in it."""
    if not any("overlay" in layer for layer in layers):
        return None
    board = map(_of_overlay, layers)
    try:
        return _executed(load_profile(SMALLEST_PROFILE, *board, source=source, name=name))
    except InvalidProfileError:
        # All problems are reported together, those of other fields too.
        load_profile(*layers, source=source, name=name, bases=_builtin_or_smallest)
        raise


def _of_overlay(layer: Layer) -> Layer:
    """Return what a layer of a profile has of the overlay."""
    above = layer.get("input")
    if isinstance(above, Mapping):
        above = {"overlayInstaller": above.get("overlayInstaller")}
    return {"overlay": layer.get("overlay"), "input": above}


def _builtin_or_smallest(name: str) -> Layer:
    return read_builtin(name) if name in builtin_names() else SMALLEST_PROFILE


def _executed(profile: Profile) -> ContainerAsset | None:
    """Return the image whose installer runs here; None without an overlay or an image."""
    if profile.overlay is None:
        return None
    return profile.overlay.image or profile.input.overlay_installer


def open_overlay(
    opened: OpenedProfile, pulling: Pulling, stack: ExitStack
) -> InstalledOverlay | None:
    """Return what the profile's overlay adds to the output; its image may be open already.

    None without an overlay. Only a disk gets what the installer writes. Temporary files are removed
    with `stack`. Raises as `image_source`, `image_root` and `install_overlay`.
    """
    profile, image = opened.profile, opened.overlay
    overlay, asset = profile.overlay, _executed(profile)
    if overlay is None:
        return None
    if asset is None:
        raise InputError(
            "an overlay needs an image", hint=f"give one with {setting('overlay.image')}"
        )
    if image is None:
        image = open_overlay_image(asset, runnable(), pulling, stack)
    run = install_overlay if profile.output.kind is OutputKind.IMAGE else ask_overlay
    with pulling.reporter.waiting(f"running the installer of overlay {overlay.name}"):
        scratch = stack.enter_context(scratch_folder())
        return run(image.files.overlay(overlay.name, overlay.options), scratch)


def overlay_for_installer(
    opened: OpenedProfile, pulling: Pulling, stack: ExitStack
) -> Overlay | None:
    """Return the profile's overlay that an installer image carries; None without one.

    It is of the image for the machine's architecture, which may be open already. Raises
    OverlayFailedError if there is none, and as `image_source` and `image_root`.
    """
    profile, image = opened.profile, opened.overlay
    overlay, arch = profile.overlay, find_arch(profile.arch)
    if overlay is None or profile.output.kind is not OutputKind.INSTALLER:
        return None
    asset = profile.input.overlay_installer or _executed(profile)
    if asset is None:
        return None
    if image is None or (image.asset, image.files.arch) != (asset, arch):
        image = open_overlay_image(asset, [arch], pulling, stack)
    if image.files.arch != arch:
        raise OverlayFailedError(
            f"{image.files.where} is for {image.files.arch.name}, but the installer is for"
            f" {arch.name}",
            hint=f"give an image for {arch.name} with {setting('input.overlayInstaller')}",
        )
    return image.files.overlay(overlay.name, overlay.options)
