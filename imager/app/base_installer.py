"""Open the image that an installer image builds on."""

from __future__ import annotations

from contextlib import ExitStack

from imager.app.container_images import Pulling, image_root, image_source, place_of
from imager.image.installer import base_layers
from imager.image.overlay import Overlay
from imager.image.plan import BaseInstaller
from imager.oci.layered import BaseImage
from imager.oci.platform import Platform
from imager.oci.push import PushBlob
from imager.oci.reference import Reference
from imager.profile.inputs import ContainerAsset
from imager.profile.model import Profile
from imager.talos.choices import OutputKind
from imager.talos.version import TalosVersion
from imager.talos.versions import base_installer


def open_base_installer(
    profile: Profile,
    version: TalosVersion,
    pulling: Pulling,
    stack: ExitStack,
    overlay: Overlay | None,
) -> BaseInstaller | None:
    """Return the base of an installer image, by default Talos's; None for another output.

    The new image carries `overlay`. Layers that it does not contain are not fetched. Raises as
    `image_source` and `image_root`.
    """
    if profile.output.kind is not OutputKind.INSTALLER:
        return None
    usual = base_installer(version)
    asset = profile.input.base_installer or ContainerAsset.model_validate({"imageRef": usual})
    where, platform = place_of(asset), Platform("linux", profile.arch)
    puller = pulling.puller(asset, stack)
    with pulling.reporter.waiting(f"opening {where}"):
        source = image_source(asset, platform, puller)
        root = image_root(source, platform, where, puller)
    layers = tuple(PushBlob(layer, root.fetch(layer)) for layer in base_layers(root.layers))
    tag = Reference.parse(asset.image_ref) if asset.image_ref else None
    named = tag if tag and tag.tag else Reference.parse(usual)
    return BaseInstaller(BaseImage(root.config, layers), where, named, overlay)
