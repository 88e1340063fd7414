"""Plan additions to a cache and removals from it; `write_gathered` writes the result.

The result equals a new cache of the complete list of images; it reuses the existing blobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from imager.cache.archiving import ArchiveFormat
from imager.cache.cache import ImageCache
from imager.cache.cache_source import gather_held
from imager.cache.contents import Gathered
from imager.cache.errors import IncompleteCacheError
from imager.cache.images import CachedImage, CachedPart, cached_images, signed_images
from imager.cache.opened import CacheKind, OpenedCache
from imager.cache.paths import manifest_path
from imager.cache.plan import CacheLayout, CreateOptions, LayerCompression
from imager.oci.digest import Digest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.support.errors import UnsupportedError


def keeping_options(opened: OpenedCache, *, jobs: int) -> CreateOptions:
    """Return the options that create a cache with the same packing as `opened`.

    The layer in an archive is not compressed separately. Raises UnsupportedError for an ISO or disk
    image, which cannot be changed in place.
    """
    if opened.kind is CacheKind.IMAGE:
        raise UnsupportedError(
            f"{opened.cache.source} is an ISO or disk image: only OCI layouts, flat trees and "
            "tars of them can be changed",
            hint="change the cache that it was built from, and rebuild the image",
        )
    if opened.kind in (CacheKind.TAR, CacheKind.ARCHIVE):
        layout = CacheLayout.OCI if opened.kind is CacheKind.ARCHIVE else CacheLayout.FLAT
        return CreateOptions(layout, jobs=jobs, archive=ArchiveFormat.packed(opened.packed))
    compression = opened.codec.value if opened.codec else LayerCompression.NONE.value
    return CreateOptions(CacheLayout(opened.kind.value), LayerCompression(compression), jobs)


@dataclass(frozen=True, slots=True)
class Addition:
    """A cache with added images; `moved` are old images whose tag now names another image.

    `folders_added` are required folders that were missing.
    """

    gathered: Gathered
    moved: tuple[CachedImage, ...]
    blobs_added: tuple[Digest, ...]
    folders_added: tuple[str, ...]
    changes: bool


def plan_addition(opened: OpenedCache, fetched: Gathered) -> Addition:
    """Plan the addition of the images of `fetched`, reusing blobs that the cache already has.

    Raises InputError if the two have different sizes for a blob.
    """
    cache = opened.cache
    images = cached_images(cache)
    moved = tuple(image for image in images if _has_moved(image, fetched))
    kept = signed_images(cache, (image for image in images if image not in moved))
    # The unchanged images may have new signatures.
    gathered = gather_held(cache, (each for each in kept if not _has_moved(each, fetched)))
    gathered.manifests |= fetched.manifests
    for digest, source in fetched.blobs.items():
        if digest not in cache.blobs:
            gathered.blobs.pop(digest, None)
        gathered.add_blob(source)
    gathered.platforms |= fetched.platforms
    added = tuple(sorted(gathered.blobs.keys() - cache.blobs.keys()))
    before = gather_held(cache, signed_images(cache, images))
    changes = bool(added or opened.lacking) or gathered.manifests != before.manifests
    return Addition(gathered, moved, added, opened.lacking, changes)


def _has_moved(image: CachedImage, fetched: Gathered) -> bool:
    if image.reference.tag is None:
        return False
    path = manifest_path(replace(image.reference, digest=None))
    return fetched.manifests.get(path, image.root.raw) != image.root.raw


@dataclass(frozen=True, slots=True)
class Pruning:
    """A cache with fewer images; `freed` is the size of the removed files in bytes.

    `folders_added` are required folders that were missing.
    """

    gathered: Gathered
    removed: tuple[CachedImage, ...]
    blobs_dropped: tuple[Digest, ...]
    freed: int
    folders_added: tuple[str, ...]
    takes_out: bool

    @property
    def changes(self) -> bool:
        """Whether the cache changes at all."""
        return self.takes_out or bool(self.folders_added)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which images to keep: `keep` (None means all) without `remove`.

    With `platforms`, only these platforms of the images are kept.
    """

    keep: Sequence[Reference] | None = None
    remove: Sequence[Reference] = ()
    platforms: Sequence[Platform] = ()


def plan_pruning(opened: OpenedCache, wanted: Wanted) -> Pruning:
    """Plan the removal of unwanted images and of everything that no image needs.

    Raises InputError if a reference is not in the cache, an image has none of the platforms, or no
    image would be left.
    """
    cache = opened.cache
    images = cached_images(cache)
    _require(cache, images, [*(wanted.keep or ()), *wanted.remove])
    kept = [image for image in images if _is_wanted(image, wanted)]
    if not kept:
        raise IncompleteCacheError(
            f"no image would be left in {cache.source}", hint="delete the whole cache instead"
        )
    gathered = gather_held(cache, signed_images(cache, _cut(kept, wanted.platforms)))
    unnamed = sum(path.lstat().st_size for path in opened.unnamed)
    fewer_manifests = len(gathered.manifests) < len(cache.manifests)
    blobs_dropped = tuple(sorted(cache.blobs.keys() - gathered.blobs.keys()))
    return Pruning(
        gathered,
        removed=tuple(image for image in images if image not in kept),
        blobs_dropped=blobs_dropped,
        freed=cache.size - gathered.size + unnamed,
        folders_added=opened.lacking,
        takes_out=bool(fewer_manifests or blobs_dropped or cache.ignored or opened.unnamed),
    )


def _is_wanted(image: CachedImage, wanted: Wanted) -> bool:
    if any(_is_named(image, reference) for reference in wanted.remove):
        return False
    return wanted.keep is None or any(_is_named(image, each) for each in wanted.keep)


def _is_named(image: CachedImage, reference: Reference) -> bool:
    return (
        image.reference.name == reference.name
        and reference.tag in (None, image.reference.tag)
        and reference.digest in (None, image.root.digest)
    )


def _require(
    cache: ImageCache, images: Sequence[CachedImage], references: Iterable[Reference]
) -> None:
    missing = [
        str(each) for each in references if not any(_is_named(image, each) for image in images)
    ]
    if missing:
        raise IncompleteCacheError(
            f"{cache.source} has no image {', '.join(missing)}",
            hint="`imager images cache-info` lists its images",
        )


def _cut(images: Sequence[CachedImage], platforms: Sequence[Platform]) -> list[CachedImage]:
    """Remove parts for other platforms; raises InputError if an image has no parts left."""
    if not platforms:
        return list(images)
    cut = [replace(image, parts=_parts(image, platforms)) for image in images]
    without = [str(image.reference) for image in cut if not image.parts]
    if without:
        raise IncompleteCacheError(
            f"no variant for {', '.join(map(str, platforms))}: {', '.join(without)}",
            hint="remove these images as well, with --remove",
        )
    return cut


def _parts(image: CachedImage, platforms: Sequence[Platform]) -> tuple[CachedPart, ...]:
    if not image.platforms:
        # An image without platform information matches every platform.
        return image.parts
    return tuple(part for part in image.parts if part.platform in platforms)
