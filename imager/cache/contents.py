"""The contents of a planned cache: manifests, blobs, and the source of each blob."""

from __future__ import annotations

from dataclasses import dataclass, field

from imager.cache.errors import InvalidImageListError
from imager.cache.paths import manifest_path
from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.source import ImageSource


@dataclass(frozen=True, slots=True)
class BlobSource:
    """A blob and an image source that provides it."""

    blob: Descriptor
    source: ImageSource


@dataclass(slots=True)
class Gathered:
    """The contents of a planned cache: manifests by path in the tree, blobs by digest.

    `platforms` are the platforms of the images, `wanted` the requested ones. `names` are the names
    of the images, without signatures. `asked` are the references that registries were asked for, by
    the names of what they answered.
    """

    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[Digest, BlobSource] = field(default_factory=dict)
    platforms: set[Platform] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    wanted: tuple[Platform, ...] = ()
    names: set[Reference] = field(default_factory=set)
    asked: dict[Reference, Reference] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """The number of image names."""
        return len(self.names)

    @property
    def size(self) -> int:
        """The total size of the files of the tree in bytes."""
        blobs = sum(source.blob.size for source in self.blobs.values())
        return blobs + sum(map(len, self.manifests.values()))

    def add_warning(self, text: str) -> None:
        """Add a warning unless it is a duplicate, as for several images of one file."""
        if text not in self.warnings:
            self.warnings.append(text)

    def add_manifest(self, name: Reference, raw: bytes) -> None:
        """Add a manifest by tag or digest; raises InputError if the tag is already taken."""
        if self.manifests.setdefault(manifest_path(name), raw) != raw:
            raise InvalidImageListError(
                f"two different images have the name {name}",
                hint="give each image its own name; platforms that share a name need an index",
            )

    def add_blob(self, source: BlobSource) -> None:
        """Add a blob unless known; raises InputError if its size differs from the known one."""
        known = self.blobs.setdefault(source.blob.digest, source)
        if known.blob.size != source.blob.size:
            raise InvalidImageListError(
                f"blob {source.blob.digest} has {source.blob.size} bytes in one manifest "
                f"and {known.blob.size} in another"
            )

    @property
    def index_platforms(self) -> set[Platform]:
        """The platforms of the cache's index entries: the images', or else the requested ones."""
        return self.platforms or set(self.wanted)
