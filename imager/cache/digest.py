"""The digest of an image cache on this machine: that of the list of its files."""

from __future__ import annotations

import hashlib

from imager.cache.cache import ImageCache
from imager.cache.paths import parse_path
from imager.oci.digest import Digest


def cache_digest(cache: ImageCache) -> Digest:
    """Return the digest of the paths, sizes and digests of a cache's files, in their order.

    No blob is read: its digest is in its path, and is checked when the blob is copied.
    """
    lines = hashlib.sha256()
    for file in cache.files:
        found = parse_path(file.path)
        digest = found if isinstance(found, Digest) else found and cache.manifests[found].digest
        lines.update(f"{digest} {file.content.size} {file.path}\n".encode())
    return Digest(lines.hexdigest())
