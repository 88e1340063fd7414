"""The model of an image cache: its files and its parsed manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from imager.cache.blobnames import BlobNames
from imager.cache.errors import IncompleteCacheError
from imager.cache.paths import cache_tree
from imager.content.digests import Check
from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.oci.config import platform_of
from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.plainfile import PlainStreams
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.signature import signed_digest
from imager.support.arch import Arch
from imager.support.units import count

_SHOWN = 5


@dataclass(frozen=True)
class ImageCache:
    """A cache whose manifests are verified; blobs are verified when copied.

    `source` is the location of the cache, for messages. `files` are in the order in which to write
    them. `config_platforms` maps the digests of manifests to the platforms in their image
    configurations. `damaged` are blobs that were read when the cache was opened and did not match
    their digest. `containers` are checks of what contains the files: the layer. They prove nothing
    about the files that the digests of blobs and manifests do not prove.
    """

    source: str
    files: tuple[File, ...]
    manifests: Mapping[Reference, RawManifest]
    blobs: Mapping[Digest, File]
    config_platforms: Mapping[Digest, Platform]
    damaged: frozenset[Digest] = frozenset()
    containers: tuple[Check, ...] = ()
    ignored: int = 0

    def readable_in_any_order(self) -> ImageCache:
        """Return the cache with compressed streams decompressed to temporary files.

        Raises HostError if the disk is full, InputError if a stream is damaged.
        """
        streams = PlainStreams(self.source)
        contents = streams.plain(file.content for file in self.files)
        files = tuple(map(_moved, self.files, contents))
        blobs = streams.plain(file.content for file in self.blobs.values())
        placed = dict(zip(self.blobs, map(_moved, self.blobs.values(), blobs), strict=True))
        return replace(self, files=files, blobs=placed)

    @cached_property
    def signatures(self) -> Mapping[Reference, Digest]:
        """The tags of signatures, each with the digest of the manifest that it signs."""
        return {
            reference: signed
            for reference, manifest in self.manifests.items()
            if (signed := signed_digest(reference.tag)) is not None
            and signed != manifest.digest  # an image tagged with its own digest
            and self._part(reference, signed) is not None
        }

    @cached_property
    def images(self) -> tuple[Reference, ...]:
        """The names under which machines request images: tags, and digests of untagged images."""
        tagged = {
            (reference.name, manifest.digest)
            for reference, manifest in self.manifests.items()
            if reference.tag
        }
        parts = {
            (reference.name, entry.digest)
            for reference, manifest in self.manifests.items()
            if isinstance(manifest.document, Index)
            for entry in manifest.document.manifests
        }
        return tuple(
            sorted(
                (
                    reference
                    for reference, manifest in self.manifests.items()
                    if reference not in self.signatures
                    and (reference.tag or (reference.name, manifest.digest) not in tagged | parts)
                ),
                key=str,
            )
        )

    @cached_property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms of the images, from their index or else from their configuration."""
        own = {
            self.config_platforms[digest]
            for digest in (self.manifests[reference].digest for reference in self.images)
            if digest in self.config_platforms
        }
        return tuple(sorted(own | set(self.index_platforms)))

    @cached_property
    def index_platforms(self) -> tuple[Platform, ...]:
        """The platforms of the images that have an index, if their manifests are in the cache."""
        found = (
            self.entry_platform(reference, entry)
            for reference in self.images
            if isinstance(document := self.manifests[reference].document, Index)
            for entry in document.images
            if self._part(reference, entry.digest)
        )
        return tuple(sorted({platform for platform in found if platform}))

    def entry_platform(self, reference: Reference, entry: Descriptor) -> Platform | None:
        """Return the normalised platform of an entry of the index of `reference`.

        Returns None if the entry has no platform, or if finding it needs a missing manifest.
        """
        root, part = self.manifests[reference], self._part(reference, entry.digest)
        if entry.is_attestation or signed_digest(reference.tag) not in (None, root.digest):
            return None
        if entry.platform is not None:
            return entry.platform.normalised()
        if part is None or not isinstance(part.document, ImageManifest):
            return None
        return platform_of(part.document, self.config_platforms.get(part.digest))

    @cached_property
    def tree(self) -> Tree:
        """The files, and the folders that machines require."""
        return cache_tree(self.files)

    @cached_property
    def size(self) -> int:
        """The total size of all files in bytes."""
        return sum(file.content.size for file in self.files)

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """The pending digest checks of all blobs, except those that are known to be damaged."""
        named = BlobNames(self.manifests)
        return tuple(
            blob_check(digest, file.content, what=named.of(digest))
            for digest, file in self.blobs.items()
            if digest not in self.damaged
        )

    def _part(self, reference: Reference, digest: Digest) -> RawManifest | None:
        return self.manifests.get(Reference(reference.registry, reference.repository, None, digest))

    def require_arch(self, arch: Arch) -> None:
        """Raise InputError unless every image is complete for linux/`arch`.

        Images for other platforms only (see `foreign`) are allowed if there are others.
        """
        problems = [
            problem
            for reference in self.images
            for problem in self._incomplete(reference, Platform("linux", arch.name))
        ]
        if problems:
            raise IncompleteCacheError(
                f"image cache {self.source} is incomplete for {arch.name}: {_listed(problems)}",
                hint=f"create it again with --platform linux/{arch.name}",
            )
        if len(self.foreign(arch)) == len(self.images):
            there = ", ".join(map(str, self.platforms))
            raise IncompleteCacheError(
                f"image cache {self.source} has no image for {arch.name}, only for {there}",
                hint=f"create it again with --platform linux/{arch.name}",
            )

    def foreign(self, arch: Arch) -> tuple[Reference, ...]:
        """Return the images whose metadata names only platforms other than linux/`arch`."""
        wanted = ("linux", arch.name)
        return tuple(
            reference
            for reference in self.images
            if (own := self.config_platforms.get(self.manifests[reference].digest))
            and (own.os, own.architecture) != wanted
        )

    def _incomplete(self, reference: Reference, platform: Platform) -> Iterable[str]:
        manifest = self.manifests[reference]
        if isinstance(manifest.document, Index):
            told = {
                entry: self.entry_platform(reference, entry) for entry in manifest.document.images
            }
            entries = [
                entry
                for entry, own in told.items()
                # Artifacts have no platform and match every one.
                if not any(told.values())
                or (own and (own.os, own.architecture) == (platform.os, platform.architecture))
            ]
            parts = [part for entry in entries if (part := self._part(reference, entry.digest))]
            if not parts and manifest.document.manifests:
                yield f"{reference} has no manifest for {platform}"
        else:
            parts = [manifest]
        for part in parts:
            yield from self.lacks(reference, part)

    def lacks(self, reference: Reference, manifest: RawManifest) -> Iterable[str]:
        """Yield a message for each part of `manifest` that is missing from image `reference`."""
        document = manifest.document
        if not isinstance(document, ImageManifest):
            yield f"{reference} is an index of indexes"
            return
        for blob in document.blobs:
            file = self.blobs.get(blob.digest)
            if file is None:
                # A foreign layer may be missing: registries need not have it either.
                if not blob.is_foreign:
                    yield f"{reference} lacks blob {blob.digest}"
            elif file.content.size != blob.size:
                yield (
                    f"{reference}: blob {blob.digest} has {file.content.size} bytes, "
                    f"not {blob.size}"
                )

    def require_images(self, references: Iterable[Reference]) -> None:
        """Raise InputError with all `references` that are missing from the cache."""
        missing = [str(reference) for reference in references if not self.has(reference)]
        if missing:
            raise IncompleteCacheError(
                f"image cache {self.source} lacks {count(len(missing), 'required image')}: "
                f"{', '.join(missing)}",
                hint="add them to the list of `imager images cache-create`, and create it again",
            )

    def has(self, reference: Reference) -> bool:
        """Whether a machine finds `reference`; the digest takes precedence over the tag."""
        if reference.digest is not None:
            return self._part(reference, reference.digest) is not None
        return reference in self.manifests


def blob_check(digest: Digest, content: Content, *, what: str | None = None) -> Check:
    """Return the check of a blob; `what` is its name in messages."""
    return Check(what or f"blob {digest}", content, digest.hex)


def _listed(problems: list[str]) -> str:
    more = len(problems) - _SHOWN
    return "; ".join(problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _moved(file: File, content: Content) -> File:
    return replace(file, content=content)
