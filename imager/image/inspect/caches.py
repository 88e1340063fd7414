"""The image cache of an image: its images, and what they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from imager.cache.cache import ImageCache
from imager.cache.images import all_blobs, cached_images
from imager.cache.load import load_cache
from imager.cache.volumes import with_cache_paths
from imager.content.tree import Tree
from imager.image.inspect.model import CacheContents, CachedImageInfo
from imager.image.inspect.notes import Notes
from imager.image.inspect.volumes import Volume
from imager.support.errors import ImagerError
from imager.talos.constants import CACHE_FOLDER, IMAGE_CACHE

_MANIFESTS = "manifests"


def find_cache(volumes: Iterable[Volume], notes: Notes) -> CacheContents | None:
    """Return the first cache in `volumes`; see `find_image_cache`."""
    found = find_image_cache(volumes, notes)
    return cache_contents(found[1], found[0]) if found else None


def find_image_cache(volumes: Iterable[Volume], notes: Notes) -> tuple[str, ImageCache] | None:
    """Return the first cache in `volumes`, as a machine looks for it: IMAGECACHE, then folders.

    With it comes the name of its volume.
    """
    places = sorted(volumes, key=lambda volume: volume.file_system.label != IMAGE_CACHE)
    for volume in places:
        tree = _cache_tree(volume)
        if _MANIFESTS in tree.entries:
            with notes.reading(volume.place):
                return volume.place, _loaded(volume.place, tree, notes)
    return None


def _cache_tree(volume: Volume) -> Tree:
    if _MANIFESTS in volume.tree.entries:
        return volume.tree
    folder = next(
        (path for path in volume.tree.folders if path.lower() == CACHE_FOLDER), CACHE_FOLDER
    )
    tree = volume.tree.below(folder)
    return with_cache_paths(tree) if volume.is_fat else tree


def _loaded(place: str, tree: Tree, notes: Notes) -> ImageCache:
    def fail(error: ImagerError) -> None:
        notes.damaged(f"{place}: image cache", error.message.removeprefix(f"{place}: "))

    return load_cache(place, tree, fail=fail)


def cache_contents(cache: ImageCache, place: str) -> CacheContents:
    """Return the images of a cache; `place` is the volume that it is on."""
    images = cached_images(cache)
    uses = Counter(digest for image in images for digest in image.blobs)
    found = tuple(
        CachedImageInfo(
            str(image.reference),
            str(image.root.digest),
            tuple(map(str, image.platforms)),
            image.size,
            sum(blob.size for digest, blob in image.blobs.items() if uses[digest] == 1),
        )
        for image in images
    )
    each = sum(blob.size for image in images for blob in image.blobs.values())
    once = sum(blob.size for blob in all_blobs(images).values())
    return CacheContents(place, cache.size, each - once, found)
