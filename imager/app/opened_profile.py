"""Open a profile, whose base may be in its overlay image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imager.app.container_images import Pulling
from imager.profile.inputs import ContainerAsset
from imager.profile.load import SMALLEST_PROFILE, Layer, load_profile, read_builtin
from imager.profile.model import Profile
from imager.profile.names import builtin_names
from imager.support.errors import InvalidProfileError
from imager.support.fields import Location, dotted

if TYPE_CHECKING:
    from imager.app.overlay_image import OverlayImage


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
        image = _opened_image(asset, pulling, stack) if asset else None
        bases = image.base if image else None
        profile = load_profile(*layers, source=source, name=name, bases=bases)
        yield OpenedProfile(profile, image)


def _opened_image(asset: ContainerAsset, pulling: Pulling, stack: ExitStack) -> OverlayImage:
    from imager.app.overlay_image import open_overlay_image, runnable

    return open_overlay_image(asset, runnable(), pulling, stack)


def _image_of(
    layers: Sequence[Layer], *, source: str, name: Callable[[Location], str]
) -> ContainerAsset | None:
    """Return the overlay image of a profile's layers, whose base may be in it."""
    if not any("overlay" in layer for layer in layers):
        return None
    board = map(_of_overlay, layers)
    try:
        return executed_image(load_profile(SMALLEST_PROFILE, *board, source=source, name=name))
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


def executed_image(profile: Profile) -> ContainerAsset | None:
    """Return the image whose installer runs here; None without an overlay or an image."""
    if profile.overlay is None:
        return None
    return profile.overlay.image or profile.input.overlay_installer
