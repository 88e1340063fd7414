"""The installer image: a machine of Talos installs and upgrades itself out of it.

Like Talos's, it is the base installer with one more layer of boot assets, and another of the
board's overlay, if there is one. A base of two layers has boot assets of its own in the second,
which is left out. The new layers are not compressed: most of what they have is already. The output
is an OCI layout in a tar that `docker load` takes too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imager.bootassets.find import Asset
from imager.bootassets.kernelimage import efi_asset, initramfs_asset
from imager.content.extents import Content
from imager.content.rootfiles import RootFiles
from imager.content.tar import plan_root_tar, plan_tar
from imager.content.tree import File, Tree
from imager.image.bootloader.sdboot import loader
from imager.image.bootloader.unified import unified_image
from imager.image.overlay import carried_overlay
from imager.image.plan import OutputPlan, Target, file_regions
from imager.oci.layered import LayeredImage, add_layers
from imager.oci.manifest import Descriptor
from imager.oci.platform import Platform
from imager.support.errors import InputError
from imager.support.fields import setting

# Modification times in the layer and in the output, in seconds since 1970, as in Talos's.
_TIMESTAMP = 0
_LAYERS_WITH_ASSETS = 2


def plan_installer_output(target: Target) -> OutputPlan:
    """Return the plan of the installer image as a tar; raises as `installer_image`."""
    image, installer = installer_image(target), target.installer()
    plan = plan_tar(image.layout(installer.tag), timestamp=_TIMESTAMP)
    notes = (f"the image is named {installer.tag}",)
    return OutputPlan(plan.content, tuple(file_regions(plan.files)), notes=notes, image=image)


def base_layers(layers: Sequence[Descriptor]) -> Sequence[Descriptor]:
    """Return the layers of a base, from the bottom up, that an installer image contains."""
    return layers[:1] if len(layers) == _LAYERS_WITH_ASSETS else layers


def installer_image(target: Target) -> LayeredImage:
    """Return the installer image.

    Raises InputError without a base image, for META values, which a machine that is upgraded has
    already, for missing boot assets, and as `carried_overlay`.
    """
    if target.meta:
        raise InputError(
            f"{setting('customization.metaContents')}: an installer has no META values",
            hint="a machine keeps its own; leave them out",
        )
    installer = target.installer()
    layers = [RootFiles(Tree.of(_artifacts(target)))]
    if installer.overlay:
        layers.append(carried_overlay(installer.overlay))
    return add_layers(
        installer.base,
        [plan_root_tar(each, timestamp=_TIMESTAMP).content for each in layers],
        platform=Platform("linux", target.build.arch.name),
        created=target.build.timestamp,
        where=installer.name,
    )


def _artifacts(target: Target) -> Iterator[File]:
    folder = f"usr/install/{target.build.arch.name}"
    for name, content in _boot_assets(target):
        yield File(f"{folder}/{name}", content)


def _boot_assets(target: Target) -> Iterator[tuple[str, Content]]:
    build = target.build
    if not build.secure_boot and not build.quirks.unified_installer:
        yield Asset.KERNEL.value, efi_asset(build.assets, Asset.KERNEL)
        yield Asset.INITRAMFS.value, initramfs_asset(build.assets)
        return
    boot = target.disk_boot()
    yield Asset.SD_BOOT.value, loader(boot)
    name = "vmlinuz.efi" if build.quirks.unified_installer else "vmlinuz.efi.signed"
    yield name, unified_image(boot)
