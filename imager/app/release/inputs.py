"""The inputs of a build that its plan has opened, by digest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imager.app.lock.inputs import BuildInput, InputKind
from imager.app.release.bill import Contents, contents_of
from imager.app.release.files import Sources
from imager.app.release.options import Release
from imager.app.release.provenance import Provenance
from imager.bootassets.find import Asset, BootAssets
from imager.cache.cache import ImageCache
from imager.content.extents import Content
from imager.content.reading import hash_content
from imager.image.bootloader.boot import BuildContext
from imager.image.plan import OutputPlan
from imager.oci.digest import Digest
from imager.profile.model import Profile
from imager.support.errors import ImagerError
from imager.support.workers import Cancel


@dataclass(frozen=True, slots=True)
class OpenedBuild:
    """The parts of a planned build that its release describes."""

    profile: Profile
    plan: OutputPlan
    disk: Content
    build: BuildContext
    cache: ImageCache | None

    def sources(self, release: Release) -> Sources:
        """Return what the files of `release` are made of."""
        from imager import __version__

        timestamp = self.build.timestamp

        def contents(cancel: Cancel) -> Contents:
            found = [*release.inputs, *self._inputs()]
            inputs = {(each.kind, each.name, each.digest): each for each in reversed(found)}
            return contents_of(self.plan, self.cache, [*reversed(inputs.values())], cancel)

        def provenance(contents: Contents) -> Provenance:
            inputs, images = contents.inputs, contents.images
            return Provenance(self.profile, inputs, images, release.builder, __version__, timestamp)

        return Sources(self.disk, contents, provenance, timestamp, __version__)

    def _inputs(self) -> Iterator[BuildInput]:
        """Yield the boot assets, the image that they are from, and an embedded configuration."""
        assets = self.build.assets
        yield from boot_inputs(assets)
        if assets.image:
            digest = Digest.parse(assets.image.rpartition("@")[2])
            yield BuildInput(InputKind.BOOT_ASSETS, "image", str(assets.origin), digest)
        if text := self.profile.customization.embedded_machine_configuration:
            name = "customization.embeddedMachineConfiguration"
            digest = Digest.of(text.encode())
            yield BuildInput(InputKind.MACHINE_CONFIGURATION, name, "", digest)


def boot_inputs(assets: BootAssets) -> Iterator[BuildInput]:
    """Yield the boot assets that there are; reads them."""
    for asset in Asset:
        try:
            path = assets.path(asset)
        except ImagerError:
            continue
        digest = Digest(hash_content(Content.of_file(path)).hex())
        place = assets.image if assets.image and asset not in assets.given else str(path)
        yield BuildInput(InputKind.BOOT_ASSET, asset.value, place, digest)
