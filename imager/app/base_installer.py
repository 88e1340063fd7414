"""Open the image that an installer image builds on."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from imager.app.container_images import Pulling, image_root, image_source, place_of
from imager.image.installer import base_layers
from imager.image.overlay import Overlay
from imager.image.plan import BaseInstaller
from imager.oci.errors import RegistryUnreachableError
from imager.oci.layered import BaseImage
from imager.oci.platform import Platform
from imager.oci.push import PushBlob
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.profile.inputs import ContainerAsset
from imager.profile.model import Profile
from imager.support.errors import ImagerError
from imager.support.fields import setting
from imager.talos.version import TalosVersion
from imager.talos.versions import base_installer

_RETRIES = 1


def open_base_installer(
    profile: Profile,
    version: TalosVersion,
    pulling: Pulling,
    stack: ExitStack,
    overlay: Overlay | None,
) -> BaseInstaller:
    """Return the base of an installer image, by default Talos's.

    The new image carries `overlay`. Layers that it does not contain are not fetched. Raises as
    `image_source` and `image_root`.
    """
    usual = base_installer(version)
    asset = profile.input.base_installer
    if asset is None:
        asset = ContainerAsset.model_validate({"imageRef": usual})
        _check_reachable(Reference.parse(usual), pulling)
    where, platform = place_of(asset), Platform("linux", profile.arch)
    puller = pulling.of(asset).puller(stack)
    with pulling.reporter.waiting(f"opening {where}"):
        source = image_source(asset, platform, puller)
        root = image_root(source, platform, where, puller)
    layers = tuple(PushBlob(layer, root.fetch(layer)) for layer in base_layers(root.layers))
    tag = Reference.parse(asset.image_ref) if asset.image_ref else None
    named = tag if tag and tag.tag else Reference.parse(usual)
    return BaseInstaller(BaseImage(root.config, layers), where, named, overlay)


def _check_reachable(reference: Reference, pulling: Pulling) -> None:
    """Raise RegistryUnreachableError soon: the user has not named this image, and may be offline.

    Other problems are reported, after retries, when the image is opened.
    """
    registries = pulling.settings()
    patience = registries.patience
    hasty = replace(patience, retries=min(patience.retries, _RETRIES))
    client = RegistryClient.from_settings(replace(registries, patience=hasty))
    field = setting("input.baseInstaller")
    with pulling.reporter.waiting(f"asking for {reference}: no base installer is given"):
        try:
            client.image(reference).root()
        except RegistryUnreachableError as error:
            error.hint = f"give an installer image with {field}; without a network, as a path"
            raise
        except ImagerError:
            return
