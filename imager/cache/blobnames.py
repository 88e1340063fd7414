"""Name blobs in messages by the images that use them, since digests are hard to recognise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imager.oci.digest import Digest
from imager.oci.manifest import ImageManifest, Index, RawManifest
from imager.oci.reference import Reference
from imager.support.units import count

_SHOWN = 3


class BlobNames:
    """Maps each blob to the images that use it, named by tag, or by digest if untagged."""

    def __init__(self, manifests: Mapping[Reference, RawManifest]) -> None:
        tags = {each: manifest for each, manifest in manifests.items() if each.tag is not None}
        self._images = _users(tags, manifests)
        for digest, images in _users(manifests, manifests).items():
            self._images.setdefault(digest, images)

    def of(self, digest: Digest) -> str:
        """Return `blob DIGEST`, followed by the names of the images that use it."""
        images = sorted(self._images.get(digest, ()))
        if not images:
            return f"blob {digest}"
        more = f" and {count(len(images) - _SHOWN, 'other image')}" if len(images) > _SHOWN else ""
        return f"blob {digest} of {', '.join(images[:_SHOWN])}{more}"


def _users(
    images: Mapping[Reference, RawManifest], manifests: Mapping[Reference, RawManifest]
) -> dict[Digest, list[str]]:
    parts = {reference.digest: manifest for reference, manifest in manifests.items()}
    users: dict[Digest, list[str]] = {}
    for reference, manifest in images.items():
        for digest in dict.fromkeys(_blobs(manifest, parts)):
            users.setdefault(digest, []).append(str(reference))
    return users


def _blobs(manifest: RawManifest, parts: Mapping[Digest | None, RawManifest]) -> Iterator[Digest]:
    document = manifest.document
    entries = document.manifests if isinstance(document, Index) else ()
    for each in (manifest, *(parts[entry.digest] for entry in entries if entry.digest in parts)):
        if isinstance(each.document, ImageManifest):
            yield from (blob.digest for blob in each.document.blobs)
