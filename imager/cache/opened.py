"""Describe an opened cache and its packing, and select a cache from an OCI index."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from imager.cache.cache import ImageCache
from imager.cache.errors import NotAnImageCacheError
from imager.content.extents import Codec
from imager.content.tree import Tree
from imager.oci.manifest import (
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    ImageManifest,
    Index,
    RawManifest,
)
from imager.oci.platform import Platform
from imager.support.arch import Arch
from imager.support.errors import InputError, UnsupportedError

_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
LAYER_CODECS: dict[str, Codec | None] = {
    OCI_LAYER: None,
    OCI_LAYER_GZIP: Codec.GZIP,
    OCI_LAYER_ZSTD: Codec.ZSTD,
    _DOCKER_LAYER: None,
    f"{_DOCKER_LAYER}.gzip": Codec.GZIP,
}
HINT = (
    "give an OCI layout or a flat tree as a folder or a tar, an ISO or disk image, or a registry "
    "reference such as registry.local/talos/image-cache:v1"
)


class CacheKind(enum.Enum):
    """The packing of a cache.

    `OCI` is an image in a layout or a registry, `ARCHIVE` a layout in a tar. `FLAT` is the bare
    tree, `TAR` the tree in a tar. `IMAGE` is boot media: an ISO, disk image or USB stick image.
    """

    OCI = "oci"
    ARCHIVE = "oci-archive"
    FLAT = "flat"
    TAR = "tar"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class OpenedCache:
    """A cache and its packing.

    `codec` is the compression of the cache's tar, either of the layer or of the file that contains
    it; `packed` is that of the file alone. An OCI image has a `layer`. If it has an index, readers
    select by the platforms of its `entries`. `unnamed` are unreferenced files of a layout.
    `lacking` are missing folders that Talos requires.
    """

    cache: ImageCache
    kind: CacheKind
    codec: Codec | None = None
    packed: Codec | None = None
    layer: Descriptor | None = None
    entries: tuple[Platform, ...] | None = None
    unnamed: tuple[Path, ...] = ()
    lacking: tuple[str, ...] = ()


def lacking_folders(cache: ImageCache, tree: Tree) -> tuple[str, ...]:
    """Return the folders that Talos requires but that have no entry in `tree`."""
    there = set(tree.folders) - tree.implied
    return tuple(sorted(set(cache.tree.folders) - there))


_NO_PLATFORM = (
    "its index has no platforms: it may be an ordinary image, which "
    "`imager images cache-create` can turn into a cache"
)


def select_entry(source: str, index: Index, arch: Arch | None) -> Descriptor:
    """Return the entry of `index` for linux/`arch`, or that of the only cache if `arch` is None.

    Raises InputError if there is no such entry, UnsupportedError for an index of several caches.
    """
    return _only(source, index) if arch is None else _for_arch(source, index, arch)


def _for_arch(source: str, index: Index, arch: Arch) -> Descriptor:
    """Return the entry for linux/`arch`; readers select by the platform of the entry.

    A single entry without a platform matches, since skopeo writes such archives.
    """
    for entry in index.images:
        platform = entry.platform.normalised() if entry.platform else None
        if platform and (platform.os, platform.architecture) == ("linux", arch.name):
            return entry
    there = sorted({str(entry.platform) for entry in index.images if entry.platform})
    if not there and len({entry.digest for entry in index.images}) == 1:
        return index.images[0]
    hint = f"available: {', '.join(there)}" if there else _NO_PLATFORM
    raise NotAnImageCacheError(f"{source}: no OCI image found for {arch.name}", hint=hint)


def _only(source: str, index: Index) -> Descriptor:
    """Return the entry of the only cache, which may be for several platforms."""
    found = {entry.digest: entry for entry in index.images}
    if not found:
        raise NotAnImageCacheError(f"{source} has no images in its index", hint=HINT)
    platforms = {entry.platform for entry in found.values() if entry.platform}
    if len(found) > max(len(platforms), 1):
        raise NotAnImageCacheError(
            f"{source} has {len(index.images)} images in its index, so it is not an image cache",
            hint="list the images for `imager images cache-create` to make a cache of them",
        )
    if len(found) > 1:
        there = ", ".join(str(entry.platform or entry.digest) for entry in found.values())
        raise UnsupportedError(
            f"{source} contains {len(found)} caches, for {there}",
            hint="create one cache for all: `imager images cache-create --platform` takes several",
        )
    return next(iter(found.values()))


def platforms_of(index: Index) -> tuple[Platform, ...]:
    """Return the normalised platforms of an index's images, in index order."""
    return tuple(entry.platform.normalised() for entry in index.images if entry.platform)


def only_layer(source: str, manifest: RawManifest, *, listed: str) -> Descriptor:
    """Return the layer of a cache's manifest.

    `listed` is the entry for `source` in a list of images. Raises InputError if the image is not a
    cache.
    """
    layers = manifest.document.layers if isinstance(manifest.document, ImageManifest) else ()
    if len(layers) != 1 or layers[0].media_type not in LAYER_CODECS:
        raise other_image(source, listed=listed)
    return layers[0]


def other_image(source: str, *, listed: str) -> InputError:
    """Return the error for an image that is not a cache."""
    return NotAnImageCacheError(
        f"{source} is an OCI image, not an image cache",
        hint="make a cache of it: `imager images cache-create --images LIST`, "
        f"where LIST has the line {listed}",
    )
