"""Compare two caches: images by name and platform, signatures, and blobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imager.cache.cache import ImageCache
from imager.cache.images import CachedImage, cached_images
from imager.oci.digest import Digest
from imager.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class PlatformChange:
    """A platform whose manifest differs; None on the side without it.

    `platform` is empty for an image without platform information.
    """

    platform: str
    old: Digest | None
    new: Digest | None


@dataclass(frozen=True, slots=True)
class ImageChange:
    """An image that has the same name but different contents in the two caches."""

    old: CachedImage
    new: CachedImage

    @property
    def platforms(self) -> tuple[PlatformChange, ...]:
        """The platforms that differ; empty if only the index differs."""
        before, after = _digests(self.old), _digests(self.new)
        return tuple(
            PlatformChange(name, before.get(name), after.get(name))
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        )


@dataclass(frozen=True, slots=True)
class SignatureChange:
    """A signature tag whose manifest differs; None on the side without it."""

    name: Reference
    old: Digest | None
    new: Digest | None


@dataclass(frozen=True, slots=True)
class CacheDiff:
    """The differences between two caches; blobs by digest, with their sizes in bytes."""

    removed: tuple[CachedImage, ...]
    added: tuple[CachedImage, ...]
    changed: tuple[ImageChange, ...]
    signatures: tuple[SignatureChange, ...]
    blobs_removed: dict[Digest, int]
    blobs_added: dict[Digest, int]

    @property
    def same(self) -> bool:
        """Whether both caches have the same contents, regardless of packing."""
        names = (*self.removed, *self.added, *self.changed, *self.signatures)
        return not names and not self.blobs_removed and not self.blobs_added


def diff_caches(old: ImageCache, new: ImageCache) -> CacheDiff:
    """Return the changes that turn the contents of `old` into those of `new`."""
    before = {image.reference: image for image in cached_images(old)}
    after = {image.reference: image for image in cached_images(new)}
    both = [ImageChange(before[name], after[name]) for name in before if name in after]
    return CacheDiff(
        removed=tuple(image for name, image in before.items() if name not in after),
        added=tuple(image for name, image in after.items() if name not in before),
        changed=tuple(
            pair for pair in both if pair.old.root.digest != pair.new.root.digest or pair.platforms
        ),
        signatures=tuple(_signature_changes(old, new)),
        blobs_removed=_only_in(old, new),
        blobs_added=_only_in(new, old),
    )


def _digests(image: CachedImage) -> dict[str, Digest]:
    return {str(part.platform or ""): part.manifest.digest for part in image.parts}


def _signature_changes(old: ImageCache, new: ImageCache) -> Iterator[SignatureChange]:
    before, after = (
        {reference: cache.manifests[reference].digest for reference in cache.signatures}
        for cache in (old, new)
    )
    for name in sorted(before.keys() | after.keys(), key=str):
        if before.get(name) != after.get(name):
            yield SignatureChange(name, before.get(name), after.get(name))


def _only_in(one: ImageCache, other: ImageCache) -> dict[Digest, int]:
    digests = sorted(one.blobs.keys() - other.blobs.keys())
    return {digest: one.blobs[digest].content.size for digest in digests}
