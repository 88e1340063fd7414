"""The kinds of errors of image caches."""

from __future__ import annotations

from imager.support.errors import InputError


class NotAnImageCacheError(InputError):
    """The path or reference is not an image cache, or does not exist."""

    remedy = (
        "Give an OCI layout or a flat tree as a folder or a tar, an ISO or disk image with a "
        "cache, or a registry reference. `imager images cache-create` makes a cache."
    )


class DamagedCacheError(InputError):
    """A file of an image cache does not match its digest or its manifest."""

    remedy = (
        "Copy the cache from its source again, or create it again. `imager images cache-verify` "
        "lists all problems."
    )


class IncompleteCacheError(InputError):
    """An image cache lacks an image, or a part of one for the architecture."""

    remedy = "Add the images with `imager images cache-add`, or create the cache again."


class InvalidImageListError(InputError):
    """An image list has lines that are not images, or images that conflict with each other."""

    remedy = "Correct the lines that the message names: one image per line; # starts a comment."


class UnverifiedImageError(InputError):
    """The verification policy denies an image, or no signature of it is valid for its rule."""

    remedy = (
        "Use images that are signed as the policy requires, or change the rule that the message "
        "names. `cosign verify` shows what a signature says."
    )
