"""Summarise a cache: its images, the size of shared blobs, and the volume size it needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imager.cache.cache import ImageCache
from imager.cache.images import (
    CachedImage,
    all_blobs,
    cached_images,
    cached_signatures,
    unreferenced_blobs,
)
from imager.cache.opened import OpenedCache
from imager.formats.ext4.default import minimum_default_ext4_size
from imager.formats.ext4.plan import minimum_ext4_size
from imager.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """An opened cache's images, signatures and sizes, in bytes.

    `shared` is the space saved by storing shared blobs once. `volume_size` is the smallest
    IMAGECACHE partition of a disk image, `node_volume_size` the smallest one that a machine can
    format itself, and thus a VolumeConfig's minSize. Both are multiples of 1 MiB.
    """

    opened: OpenedCache
    images: tuple[CachedImage, ...]
    signatures: tuple[CachedImage, ...]
    shared: int
    volume_size: int
    node_volume_size: int

    @property
    def cache(self) -> ImageCache:
        """The opened cache."""
        return self.opened.cache

    @property
    def manifests(self) -> int:
        """The number of distinct manifests and indexes."""
        return len({manifest.digest for manifest in self.cache.manifests.values()})

    @property
    def unreferenced(self) -> tuple[Digest, ...]:
        """The blobs that no image or signature refers to."""
        return unreferenced_blobs(self.cache, (*self.images, *self.signatures))

    @property
    def min_size(self) -> str:
        """The volume's size as a VolumeConfig value, such as `2300MiB`."""
        return f"{self.node_volume_size >> 20}MiB"


def cache_info(opened: OpenedCache, *, scratch: Path) -> CacheInfo:
    """Return the summary of a cache; `scratch` is a folder that supports sparse files.

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
        node_volume_size=minimum_default_ext4_size(cache.tree, scratch=scratch),
    )
