"""List the images of a cache with their manifests, blobs, platforms and signatures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from imager.cache.cache import ImageCache
from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class CachedPart:
    """A manifest of an image, with the normalised platform from its index or configuration.

    `blobs` are its configuration and its layers, without omitted foreign layers. A nested index
    has no blobs.
    """

    manifest: RawManifest
    platform: Platform | None
    blobs: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class CachedImage:
    """An image with the name that machines request, and those of its parts that are cached."""

    reference: Reference
    root: RawManifest
    parts: tuple[CachedPart, ...]

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The cached platforms, sorted."""
        return tuple(sorted({part.platform for part in self.parts if part.platform}))

    @property
    def manifests(self) -> tuple[tuple[Reference, RawManifest], ...]:
        """The manifests with their names in the tree: the tag and the digests."""
        manifests = (self.root, *(part.manifest for part in self.parts))
        named = {replace(self.reference, tag=None, digest=each.digest): each for each in manifests}
        tag = ((replace(self.reference, digest=None), self.root),) if self.reference.tag else ()
        return (*tag, *named.items())

    @property
    def blobs(self) -> dict[Digest, Descriptor]:
        """The blobs of all parts, without duplicates."""
        return {blob.digest: blob for part in self.parts for blob in part.blobs}

    @property
    def size(self) -> int:
        """The size of its files in bytes: manifests under each name, and blobs."""
        manifests = sum(len(manifest.raw) for _, manifest in self.manifests)
        return manifests + sum(blob.size for blob in self.blobs.values())

    def missing(self, platform: Platform) -> bool:
        """Whether its index names `platform` but no manifest for it is cached."""
        document = self.root.document
        if not isinstance(document, Index) or platform in self.platforms:
            return False
        return any(entry.platform and entry.platform.matches(platform) for entry in document.images)


def cached_images(cache: ImageCache) -> tuple[CachedImage, ...]:
    """Return all images of `cache`, sorted by name."""
    return tuple(_cached(cache, reference) for reference in cache.images)


def cached_signatures(cache: ImageCache) -> tuple[CachedImage, ...]:
    """Return all image signatures in `cache`, sorted by name; they have no platform."""
    found = (_cached(cache, reference) for reference in sorted(cache.signatures, key=str))
    return tuple(
        replace(each, parts=tuple(replace(part, platform=None) for part in each.parts))
        for each in found
    )


def signed_images(cache: ImageCache, images: Iterable[CachedImage]) -> tuple[CachedImage, ...]:
    """Return `images` together with the signatures of them and of their parts in `cache`."""
    images = tuple(images)
    signed = {
        (image.reference.name, manifest.digest)
        for image in images
        for _, manifest in image.manifests
    }
    signatures = (
        each
        for each in cached_signatures(cache)
        if (each.reference.name, cache.signatures[each.reference]) in signed
    )
    return (*images, *signatures)


def _cached(cache: ImageCache, reference: Reference) -> CachedImage:
    root = cache.manifests[reference]
    return CachedImage(reference, root, tuple(_parts(cache, reference, root)))


def _parts(cache: ImageCache, reference: Reference, root: RawManifest) -> Iterator[CachedPart]:
    if not isinstance(root.document, Index):
        yield _part(cache, root, cache.config_platforms.get(root.digest))
        return
    for entry in root.document.manifests:
        part = cache.manifests.get(replace(reference, tag=None, digest=entry.digest))
        if part is not None:
            yield _part(cache, part, cache.entry_platform(reference, entry))


def _part(cache: ImageCache, manifest: RawManifest, platform: Platform | None) -> CachedPart:
    document = manifest.document
    blobs = document.blobs if isinstance(document, ImageManifest) else ()
    there = (blob for blob in blobs if not blob.is_foreign or blob.digest in cache.blobs)
    return CachedPart(manifest, platform, tuple(there))


def all_blobs(images: Iterable[CachedImage]) -> dict[Digest, Descriptor]:
    """Return the blobs of `images`, without duplicates."""
    return {digest: blob for image in images for digest, blob in image.blobs.items()}


def unreferenced_blobs(cache: ImageCache, images: Sequence[CachedImage]) -> tuple[Digest, ...]:
    """Return the blobs of `cache` that none of `images` refers to, sorted."""
    return tuple(sorted(cache.blobs.keys() - all_blobs(images).keys()))
