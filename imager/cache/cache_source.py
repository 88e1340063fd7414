"""Use a cache as an image source, so that its contents need not be fetched again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imager.cache.cache import ImageCache
from imager.cache.contents import BlobSource, Gathered
from imager.cache.errors import DamagedCacheError
from imager.cache.images import CachedImage
from imager.content.extents import Content
from imager.oci.digest import Digest
from imager.oci.errors import NotFoundError
from imager.oci.manifest import Descriptor, RawManifest
from imager.oci.source import StoredImage


@dataclass(frozen=True, slots=True)
class HeldImage(StoredImage):
    """One image of an opened cache; an ImageSource."""

    cache: ImageCache
    image: CachedImage

    def root(self) -> RawManifest:
        """Return the manifest or index with the image's name."""
        return self.image.root

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest of the image by tag or digest; see ImageSource."""
        for reference, manifest in self.image.manifests:
            if target in (reference.tag, reference.digest):
                return manifest
        raise NotFoundError(
            f"{self.cache.source} has no manifest {target} for {self.image.reference}"
        )

    @property
    def place(self) -> str:
        """The location of the cache."""
        return self.cache.source

    def blob_content(self, blob: Descriptor) -> Content:
        """Return the blob, from a layer or from its own file; see ImageSource."""
        file = self.cache.blobs.get(blob.digest)
        if file is None:
            raise NotFoundError(
                f"{self.cache.source}: {self.image.reference} lacks blob {blob.digest}",
                hint="`imager images cache-verify` lists all problems; then create the cache again",
            )
        if file.content.size != blob.size:
            raise DamagedCacheError(
                f"{self.cache.source}: blob {blob.digest} has {file.content.size} bytes, "
                f"but the manifest of {self.image.reference} says {blob.size}"
            )
        return file.content


def gather_held(cache: ImageCache, images: Iterable[CachedImage]) -> Gathered:
    """Return the contents of a cache with only `images`, all of which are in `cache`."""
    gathered = Gathered()
    for image in images:
        source = HeldImage(cache, image)
        for reference, manifest in image.manifests:
            gathered.add_manifest(reference, manifest.raw)
        for blob in image.blobs.values():
            gathered.add_blob(BlobSource(blob, source))
        gathered.platforms |= set(image.platforms)
    return gathered
