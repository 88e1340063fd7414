"""Unpack the overlay image of a profile, and run its installer."""

from __future__ import annotations

from contextlib import ExitStack

from imager.app.container_images import Pulling, image_root, image_source, place_of
from imager.image.overlay import InstalledOverlay, Overlay, install_overlay
from imager.oci.errors import InvalidImageError
from imager.oci.platform import Platform
from imager.oci.rootfs import ImageRoot
from imager.profile.model import Profile
from imager.support.arch import Arch, find_arch
from imager.support.errors import InputError
from imager.support.fields import setting
from imager.support.partials import scratch_folder
from imager.support.sandbox import host_arch


def open_overlay(profile: Profile, pulling: Pulling, stack: ExitStack) -> InstalledOverlay | None:
    """Return what the profile's overlay adds to a disk; None without one.

    The image is taken for this machine's architecture, since its installer runs here, else for the
    target's, which is emulated. Temporary files are removed with `stack`. Raises as `image_source`,
    `image_root` and `install_overlay`.
    """
    overlay = profile.overlay
    if overlay is None:
        return None
    asset = overlay.image or profile.input.overlay_installer
    if asset is None:
        raise InputError(
            "an overlay needs an image", hint=f"give one with {setting('overlay.image')}"
        )
    where = place_of(asset)
    puller = pulling.puller(asset, stack)

    def opened(arch: Arch) -> ImageRoot:
        platform = Platform("linux", arch.name)
        return image_root(image_source(asset, platform, puller), platform, where, puller)

    with pulling.reporter.waiting(f"opening {where}"):
        arch = host_arch() or find_arch(profile.arch)
        try:
            root = opened(arch)
        except InvalidImageError:
            arch = find_arch(profile.arch)
            root = opened(arch)
        files = root.files().tree()
    with pulling.reporter.waiting(f"running the installer of overlay {overlay.name}"):
        scratch = stack.enter_context(scratch_folder())
        return install_overlay(Overlay(files, overlay.name, arch, overlay.options), scratch)
