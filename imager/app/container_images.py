"""Open the container images that a profile names."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imager.oci.location import open_local_image
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.profile.inputs import ContainerAsset
from imager.support.reporter import QUIET, Reporter

if TYPE_CHECKING:
    from imager.cache.pull import Puller
    from imager.oci.rootfs import ImageRoot
    from imager.oci.settings import RegistrySettings
    from imager.oci.source import ImageSource


@dataclass(frozen=True, slots=True)
class Pulling:
    """How images are pulled; layers are kept in the folder `layer_cache`, if given.

    Without it, the layer of an image cache is pulled to a temporary folder `beside` an output.
    `registries` are the default settings if None.
    """

    registries: RegistrySettings | None = None
    layer_cache: Path | None = None
    reporter: Reporter = QUIET
    beside: Path | None = None

    def of(self, asset: ContainerAsset) -> Pulling:
        """Return how `asset` is pulled: its registry may be insecure."""
        if not asset.force_insecure:
            return self
        return replace(self, registries=self.settings().with_insecure())

    def settings(self) -> RegistrySettings:
        """Return the settings of registries."""
        from imager.oci.settings import RegistrySettings

        return self.registries or RegistrySettings()

    def puller(self, stack: ExitStack) -> Puller:
        """Return a puller; what it does not keep is removed with `stack`."""
        from imager.cache.pull import PullOptions

        options = PullOptions(self.settings(), self.layer_cache)
        return stack.enter_context(options.puller(self.reporter))


def place_of(asset: ContainerAsset) -> str:
    """Return the path or reference of an image, as in messages."""
    return asset.tarball_path or asset.oci_path or asset.image_ref


def image_source(asset: ContainerAsset, platform: Platform, puller: Puller) -> ImageSource:
    """Return the image of a registry, a layout or an archive; raises as `open_local_image`."""
    if asset.image_ref:
        from imager.oci.registry import RegistryClient

        client = RegistryClient.from_settings(puller.registries)
        return client.image(Reference.parse_strict(asset.image_ref))
    return open_local_image(Path(place_of(asset)), platform)


def image_root(source: ImageSource, platform: Platform, where: str, puller: Puller) -> ImageRoot:
    """Return the root file system of an image for `platform`; raises as `ImageRoot.open`."""
    from imager.oci.rootfs import ImageRoot

    return ImageRoot.open(
        source, platform, where=where, fetch=lambda layer: puller.layer(source, layer, where)
    )
