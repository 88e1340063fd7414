"""What a cache of images holds: manifests, blobs, and where each blob comes from."""

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
    """A blob, and an image source that has it."""

    blob: Descriptor
    source: ImageSource


@dataclass(slots=True)
class Gathered:
    """What a cache of images holds: manifests by their path in the tree, blobs by digest.

    `platforms` are those of its images, `wanted` those that were asked for; `names` those of
    its images, signatures not among them.
    """

    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[Digest, BlobSource] = field(default_factory=dict)
    platforms: set[Platform] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)
    wanted: tuple[Platform, ...] = ()
    names: set[Reference] = field(default_factory=set)

    @property
    def images(self) -> int:
        """How many images there are, by name."""
        return len(self.names)

    @property
    def size(self) -> int:
        """The bytes of all files of the tree."""
        blobs = sum(source.blob.size for source in self.blobs.values())
        return blobs + sum(map(len, self.manifests.values()))

    def add_warning(self, text: str) -> None:
        """Add a warning, each once: the images of one file may have the same."""
        if text not in self.warnings:
            self.warnings.append(text)

    def add_manifest(self, name: Reference, raw: bytes) -> None:
        """Add a manifest by tag or digest; raises InputError when another one has the tag."""
        if self.manifests.setdefault(manifest_path(name), raw) != raw:
            raise InvalidImageListError(
                f"another image has the name {name}",
                hint="give each image a name of its own; the platforms of one need an index",
            )

    def add_blob(self, source: BlobSource) -> None:
        """Add a blob, once; raises InputError when it is said to have another size elsewhere."""
        known = self.blobs.setdefault(source.blob.digest, source)
        if known.blob.size != source.blob.size:
            raise InvalidImageListError(
                f"blob {source.blob.digest} has {source.blob.size} bytes here "
                f"and {known.blob.size} elsewhere"
            )

    @property
    def index_platforms(self) -> set[Platform]:
        """The platforms by which readers find the cache: those asked for when no image has one."""
        return self.platforms or set(self.wanted)
