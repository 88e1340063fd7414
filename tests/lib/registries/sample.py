"""The image that tests pull from a programmable registry: of one layer, for linux/amd64."""

from __future__ import annotations

from tests.lib.caches.caches import MANIFEST_TYPE, dump, image_manifest, sha256
from tests.lib.registries.programmable import Registry

CONFIG = dump({"architecture": "amd64", "os": "linux"})
BLOB = bytes(range(256)) * 8192
MANIFEST = image_manifest(CONFIG, [BLOB])
NAME = "team/app"
ROOT = f"/v2/{NAME}/manifests/v1"
BLOB_PATH = f"/v2/{NAME}/blobs/sha256:{sha256(BLOB)}"


def fill(registry: Registry) -> Registry:
    """Put the image into a registry, as team/app:v1."""
    repository = registry.repository(NAME)
    for blob in (CONFIG, BLOB):
        repository.add_blob(blob)
    repository.add_manifest(MANIFEST, MANIFEST_TYPE, tag="v1")
    return registry
