"""Open an overlay image, and find the base of a profile in it.

As in Talos, the profile NAME is `profiles/NAME.yaml` of the overlay image, if it is there, else the
built-in one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from imager.app.container_images import Pulling, image_root, image_source, place_of
from imager.image.overlay_files import OverlayFiles
from imager.oci.errors import InvalidImageError
from imager.oci.platform import Platform
from imager.oci.rootfs import ImageRoot
from imager.profile.inputs import ContainerAsset
from imager.profile.load import (
    LARGEST_PROFILE,
    SMALLEST_PROFILE,
    Layer,
    load_profile,
    parse_yaml,
    read_builtin,
    resolve,
)
from imager.support.arch import ARCHES, Arch
from imager.support.errors import InputError
from imager.support.sandbox import host_arch


@dataclass(frozen=True, slots=True)
class OverlayImage:
    """The overlay image of `asset`, open: its files for machines of one architecture."""

    asset: ContainerAsset
    files: OverlayFiles

    def base(self, name: str) -> Layer:
        """Return the data of the profile `name`: the image's own, else the built-in one.

        Raises InputError if there is neither, and for a profile of the image with problems, naming
        the image and the file.
        """
        text = self.files.profile(name, limit=LARGEST_PROFILE)
        if text is None:
            return self._builtin(name)
        source = self.files.place(name)
        layer = resolve(parse_yaml(text, source=source), source=source)
        # It need not be a whole profile: what is missing may be in the one that lies over it.
        load_profile(SMALLEST_PROFILE, layer, source=source)
        return layer

    def _builtin(self, name: str) -> Layer:
        try:
            return read_builtin(name)
        except InputError as error:
            own = self.files.profiles()
            hint = f"the image has: {', '.join(own)}" if own else error.hint
            message = f"{error.message}, built-in or in {self.files.where}"
            raise InputError(message, hint=hint) from error


def runnable() -> list[Arch]:
    """Return the architectures whose installers run here, this machine's first."""
    host = host_arch()
    return sorted(ARCHES, key=lambda arch: arch != host)


def open_overlay_image(
    asset: ContainerAsset, arches: Iterable[Arch], pulling: Pulling, stack: ExitStack
) -> OverlayImage:
    """Return an overlay image for the first of `arches` that it has; valid until `stack` is closed.

    Raises as `image_source` and `image_root`.
    """
    with pulling.reporter.waiting(f"opening {place_of(asset)}"):
        root, arch = _root(asset, arches, pulling, stack)
        return OverlayImage(asset, OverlayFiles.of(root, arch))


def _root(
    asset: ContainerAsset, arches: Iterable[Arch], pulling: Pulling, stack: ExitStack
) -> tuple[ImageRoot, Arch]:
    where, puller = place_of(asset), pulling.of(asset).puller(stack)
    failures: list[InvalidImageError] = []
    for arch in arches:
        platform = Platform("linux", arch.name)
        try:
            source = image_source(asset, platform, puller)
            root = image_root(source, platform, where, puller)
        except InvalidImageError as error:
            failures.append(error)
            continue
        # A single image is opened whatever it is for.
        told = root.platform.architecture if root.platform else ""
        return root, next((each for each in ARCHES if each.name == told), arch)
    raise failures[0]
