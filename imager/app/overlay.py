"""What a profile's overlay adds: firmware, kernel arguments, a layer of installers."""

from __future__ import annotations

from contextlib import ExitStack

from imager.app.container_images import Pulling
from imager.app.opened_profile import OpenedProfile, executed_image
from imager.app.overlay_image import open_overlay_image, runnable
from imager.image.errors import OverlayFailedError
from imager.image.overlay import InstalledOverlay, Overlay, ask_overlay, install_overlay
from imager.profile import model
from imager.support.arch import find_arch
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.support.partials import scratch_folder
from imager.talos.choices import OutputKind


def open_overlay(
    opened: OpenedProfile, overlay: model.Overlay, pulling: Pulling, stack: ExitStack
) -> InstalledOverlay:
    """Return what the profile's overlay adds to the output; its image may be open already.

    Only a disk gets what the installer writes. Temporary files are removed with `stack`. Raises as
    `image_source`, `image_root` and `install_overlay`.
    """
    profile, image = opened.profile, opened.overlay
    asset = executed_image(profile)
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
    asset = profile.input.overlay_installer or executed_image(profile)
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
