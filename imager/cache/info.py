"""What is in a cache, in numbers: images, what they share, and the volume that they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.cache.cache import ImageCache
from imager.cache.images import CachedImage, all_blobs, cached_images, cached_signatures
from imager.cache.opened import OpenedCache
from imager.formats.ext4.default import minimum_default_ext4_size
from imager.formats.ext4.plan import minimum_ext4_size
from imager.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """An opened cache's images, signatures and sizes, in bytes.

    `shared` is what images would take more if each had its blobs for itself. `volume_size` is the
    smallest IMAGECACHE of a disk image, `node_volume_size` the smallest one that a machine formats
    by itself, both multiples of 1 MiB: the latter is what a VolumeConfig's minSize must be.
    """

    opened: OpenedCache
    images: tuple[CachedImage, ...]
    signatures: tuple[CachedImage, ...]
    shared: int
    volume_size: int
    node_volume_size: int

    @property
    def cache(self) -> ImageCache:
        """The cache itself."""
        return self.opened.cache

    @property
    def manifests(self) -> int:
        """How many manifests and indexes there are, each counted once."""
        return len({manifest.digest for manifest in self.cache.manifests.values()})

    @property
    def unreferenced(self) -> tuple[Digest, ...]:
        """The blobs that no image and no signature needs."""
        return unreferenced_blobs(self.cache, (*self.images, *self.signatures))

    @property
    def min_size(self) -> str:
        """The volume's size as a VolumeConfig is written: `2300MiB`."""
        return f"{self.node_volume_size >> 20}MiB"


def cache_info(opened: OpenedCache, *, scratch: Path) -> CacheInfo:
    """Return the numbers of a cache; `scratch` is a folder on a disk with sparse files.

    Raises as `minimum_ext4_size`.
    """
    cache = opened.cache
    images = cached_images(cache)
    each = sum(blob.size for image in images for blob in image.blobs.values())
    once = sum(blob.size for blob in all_blobs(images).values())
    return CacheInfo(
        opened,
        images,
        cached_signatures(cache),
        shared=each - once,
        volume_size=minimum_ext4_size(cache.tree, scratch=scratch),
        node_volume_size=node_volume_size(cache, scratch=scratch),
    )


def node_volume_size(cache: ImageCache, *, scratch: Path) -> int:
    """Return the bytes of the smallest volume for `cache` that a machine formats by itself.

    A multiple of 1 MiB. Raises as `minimum_default_ext4_size`.
    """
    return minimum_default_ext4_size(cache.tree, scratch=scratch)


def unreferenced_blobs(cache: ImageCache, images: Sequence[CachedImage]) -> tuple[Digest, ...]:
    """Return the blobs of `cache` that none of `images` needs, sorted."""
    return tuple(sorted(cache.blobs.keys() - all_blobs(images).keys()))
