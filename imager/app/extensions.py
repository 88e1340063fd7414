"""Add the system extensions of a profile to the initramfs of its boot assets.

Layers and results are kept in the user's cache, by their digests, so that a second build neither
fetches nor compresses anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from imager.app.boot_assets import kept_folder, talos_version
from imager.app.container_images import Pulling, image_root, image_source, place_of
from imager.bootassets.find import Asset, BootAssets, extension_folder
from imager.cache.pull import Puller
from imager.image.extensions.embedded import embedded_config
from imager.image.extensions.extension import (
    MANIFEST,
    Extension,
    NamedFiles,
    read_extensions,
)
from imager.image.extensions.initramfs import Rebuild, extended_initramfs, without_root_label
from imager.oci.archive import open_archive
from imager.oci.location import split_name
from imager.oci.platform import Platform
from imager.oci.rootfs import archive_root, plain_files
from imager.oci.roottree import RootTree
from imager.profile.inputs import ContainerAsset
from imager.profile.model import Profile
from imager.support.arch import Arch
from imager.support.partials import scratch_folder
from imager.support.units import count
from imager.talos.choices import OutputKind

_LONGEST = 40
# These outputs have no initramfs.
_WITHOUT = (OutputKind.KERNEL, OutputKind.CMDLINE)


def with_extensions(
    profile: Profile, assets: BootAssets, timestamp: int, pulling: Pulling, stack: ExitStack
) -> tuple[BootAssets, tuple[str, ...]]:
    """Return `assets` with the profile's extensions in the initramfs, and notes on them.

    Temporary files are removed when `stack` is closed. Raises as `read_extensions`,
    `embedded_config`, `extended_initramfs`, and ImageRoot.
    """
    listed = profile.input.system_extensions
    config = profile.customization.embedded_machine_configuration
    if profile.output.kind in _WITHOUT:
        return assets, ()
    version = talos_version(profile, assets)
    kept = kept_folder(extension_folder(), stack)
    embedded = [embedded_config(config, version)] if config else []
    images = [_image(each, assets.arch, kept, pulling, stack) for each in listed]
    extensions = [*read_extensions(images, version), *embedded]
    job = Rebuild(
        version=version,
        timestamp=timestamp,
        cache=kept,
        scratch=stack.enter_context(scratch_folder()),
    )
    with pulling.reporter.waiting(f"adding {count(len(extensions), 'system extension')}"):
        initramfs = extended_initramfs(assets.path(Asset.INITRAMFS), extensions, job)
    return replace(assets, extended=initramfs), tuple(_notes(extensions))


def _notes(extensions: Sequence[Extension]) -> Iterator[str]:
    # The version of an embedded configuration is its digest.
    described = (each.metadata for each in extensions)
    named = (
        each.name if len(each.version) > _LONGEST else f"{each.name} {each.version}".strip()
        for each in described
    )
    yield f"with system extensions: {', '.join(named)}"
    if unlabelled := without_root_label(extensions):
        yield (
            f"the SELinux label of the root folder of {', '.join(unlabelled)} is left out:"
            " mksquashfs 4.6 or later can set it"
        )


def _image(
    asset: ContainerAsset, arch: Arch, kept: Path, pulling: Pulling, stack: ExitStack
) -> NamedFiles:
    """Return the name of an extension's image for messages, and its files, in plain contents."""
    place = place_of(asset)
    kept_pulling = replace(pulling, layer_cache=pulling.layer_cache or kept / "layers")
    puller = kept_pulling.of(asset).puller(stack)
    with pulling.reporter.waiting(f"opening {place}"):
        files = _root(asset, place, Platform("linux", arch.name), puller).root_files()
    return place, plain_files(files, place)


def _root(asset: ContainerAsset, place: str, platform: Platform, puller: Puller) -> RootTree:
    path, _ = split_name(Path(place))
    if asset.tarball_path and open_archive(path).has(MANIFEST):
        # Talos unpacks a tarball: it has the files themselves.
        return archive_root(path)
    source = image_source(asset, platform, puller)
    return image_root(source, platform, place, puller).files()
