"""What differs between two caches: images by name and platform, signatures, and blobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imager.cache.cache import ImageCache
from imager.cache.images import CachedImage, cached_images
from imager.oci.digest import Digest
from imager.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class PlatformChange:
    """A platform (empty: none is told) whose manifest differs; None on the side without it."""

    platform: str
    old: Digest | None
    new: Digest | None


@dataclass(frozen=True, slots=True)
class ImageChange:
    """An image that both caches have under one name, and that is not the same."""

    old: CachedImage
    new: CachedImage

    @property
    def platforms(self) -> tuple[PlatformChange, ...]:
        """The platforms that differ; none when only the index does."""
        before, after = _digests(self.old), _digests(self.new)
        return tuple(
            PlatformChange(name, before.get(name), after.get(name))
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        )


@dataclass(frozen=True, slots=True)
class SignatureChange:
    """A tag of signatures whose manifest differs; None on the side without it."""

    name: Reference
    old: Digest | None
    new: Digest | None


@dataclass(frozen=True, slots=True)
class CacheDiff:
    """What one cache has and the other has not; blobs by digest, with their sizes in bytes."""

    removed: tuple[CachedImage, ...]
    added: tuple[CachedImage, ...]
    changed: tuple[ImageChange, ...]
    signatures: tuple[SignatureChange, ...]
    blobs_removed: dict[Digest, int]
    blobs_added: dict[Digest, int]

    @property
    def same(self) -> bool:
        """Whether the two hold the same, however packed."""
        names = (*self.removed, *self.added, *self.changed, *self.signatures)
        return not names and not self.blobs_removed and not self.blobs_added


def diff_caches(old: ImageCache, new: ImageCache) -> CacheDiff:
    """Return what must happen to `old` for it to hold what `new` does."""
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
