"""The digest of an image cache on this machine: that of the list of its files."""

from __future__ import annotations

import hashlib

from imager.cache.cache import ImageCache
from imager.cache.paths import parse_path
from imager.oci.digest import Digest
from imager.oci.reference import Reference


def cache_digest(cache: ImageCache) -> Digest:
    """Return the digest of the paths, sizes and digests of a cache's files, in their order.

    No blob is read: its digest is in its path, and is checked when the blob is copied. A damaged
    manifest counts without a digest, so that no sound cache has the same one.
    """
    lines = hashlib.sha256()
    for file in cache.files:
        digest = _digest(cache, file.path)
        lines.update(f"{digest} {file.content.size} {file.path}\n".encode())
    return Digest(lines.hexdigest())


def _digest(cache: ImageCache, path: str) -> Digest | None:
    match parse_path(path):
        case Digest() as digest:
            return digest
        case Reference() as reference if manifest := cache.manifests.get(reference):
            return manifest.digest
    return None
