"""The image cache on the two boot media: the ISO, and the USB stick with the same files."""

from __future__ import annotations

from imager.cache.blobnames import BlobNames
from imager.cache.cache import ImageCache
from imager.content.tree import Tree
from imager.formats.fat.directories import LARGEST_FILE
from imager.formats.fat.plan import check_fat_tree
from imager.image.plan import Target
from imager.support.errors import InputError
from imager.support.units import format_size
from imager.talos.constants import CACHE_FOLDER

_NO_FAT = "write the ISO itself to the stick with dd, or build a raw disk (imager metal)"


def cache_on_medium(target: Target) -> Tree:
    """Return the image cache in its folder on a medium; empty without a cache."""
    return target.cache.tree.under(CACHE_FOLDER) if target.cache else Tree.of()


def check_fits_fat(target: Target) -> None:
    """Raise InputError, with a hint, if a FAT stick cannot hold the image cache."""
    large = _too_large(target.cache) if target.cache else []
    if large:
        raise InputError(
            f"{', '.join(large)}: FAT limits a file to 4 GiB less one byte",
            hint=_NO_FAT,
        )
    try:
        check_fat_tree(cache_on_medium(target))
    except InputError as error:
        raise InputError(error.message, hint=_NO_FAT) from error


def _too_large(cache: ImageCache) -> list[str]:
    names = BlobNames(cache.manifests)
    return [
        f"{names.of(digest)} has {format_size(file.content.size)}"
        for digest, file in cache.blobs.items()
        if file.content.size > LARGEST_FILE
    ]
