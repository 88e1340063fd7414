"""The bill of materials of an output: its files, and where the bytes of each come from.

A file is traced by its digest: a blob and a manifest to the images of the cache that have it, a
copied boot asset to the input of the build. Everything else is made by the build: it is traced to
all inputs that a bootloader is made of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from imager.app.lock.inputs import BuildInput, InputKind
from imager.cache.cache import ImageCache
from imager.cache.paths import parse_path
from imager.content.extents import Content
from imager.content.reading import iterate_bytes
from imager.image.plan import OutputPlan, Region, RegionKind
from imager.oci.digest import Digest
from imager.oci.manifest import ImageManifest, Index
from imager.oci.reference import Reference
from imager.support.workers import Cancel

# Inputs that files with other bytes than theirs are not made of.
_NOT_BUILT_FROM = (InputKind.IMAGE_CACHE, InputKind.IMAGE, InputKind.CERTIFICATE)


@dataclass(frozen=True, slots=True)
class CachedImage:
    """An image of the cache: its name, the digest of its manifest or index, and its parts.

    `parts` are the digests of the manifests of its platforms, and of all blobs.
    """

    reference: Reference
    digest: Digest
    parts: frozenset[Digest]

    def has(self, digest: Digest) -> bool:
        """Whether a file with `digest` is a part of the image."""
        return digest == self.digest or digest in self.parts


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file of the output: its path, size in bytes, and SHA-256.

    `sha1` (hex) is missing for a blob, whose bytes are not read for the bill. `images` and `inputs`
    are what it comes from. It is `copied` if it has their bytes, otherwise it is made from them.
    """

    path: str
    size: int
    digest: Digest
    sha1: str | None
    images: tuple[CachedImage, ...] = ()
    inputs: tuple[BuildInput, ...] = ()
    copied: bool = True


@dataclass(frozen=True, slots=True)
class Contents:
    """What an output contains: its files, the images of its cache, and the build's inputs."""

    files: tuple[OutputFile, ...]
    images: tuple[CachedImage, ...]
    inputs: tuple[BuildInput, ...]


@dataclass(frozen=True, slots=True)
class Bill:
    """The bill of an output: its file name, size in bytes and SHA-256, and what it contains.

    `created` is in seconds since 1970, `tool` is the version of imager.
    """

    name: str
    size: int
    digest: Digest
    contents: Contents
    created: int
    tool: str


def contents_of(
    plan: OutputPlan, cache: ImageCache | None, inputs: Sequence[BuildInput], cancel: Cancel
) -> Contents:
    """Return what the output of `plan` contains; reads all of its files except the cache's blobs.

    Raises InputError if a source is shorter than planned, CancelledError once `cancel` is set.
    """
    images = tuple(cached_images(cache)) if cache else ()
    blobs = cache.blobs if cache else {}
    origins = _Origins(images, inputs)
    files = []
    for path, content in _contents(plan):
        digest, sha1 = _blob(path, content, blobs), None
        if digest is None:
            digest, sha1 = _hashed(content, cancel)
        files.append(origins.file(path, content.size, digest, sha1))
    return Contents(tuple(files), images, tuple(inputs))


def cached_images(cache: ImageCache) -> Iterator[CachedImage]:
    """Yield the images of a cache, with signatures and other tagged artifacts, by name."""
    documents = {manifest.digest: manifest.document for manifest in cache.manifests.values()}

    def parts(digest: Digest) -> Iterator[Digest]:
        match documents.get(digest):
            case Index(manifests=manifests):
                for entry in manifests:
                    yield entry.digest
                    yield from parts(entry.digest)
            case ImageManifest(blobs=blobs):
                yield from (blob.digest for blob in blobs)

    for reference in sorted({*cache.images, *cache.signatures}, key=str):
        digest = cache.manifests[reference].digest
        yield CachedImage(reference, digest, frozenset(parts(digest)))


def _contents(plan: OutputPlan) -> Iterator[tuple[str, Content]]:
    """Yield the path and content of each file; its regions are joined in their order."""
    regions: dict[str, list[Region]] = {}
    for region in (*plan.regions, *plan.aliases):
        if region.kind is RegionKind.FILE:
            regions.setdefault(region.name, []).append(region)
    for path, parts in regions.items():
        yield path, Content.concat(plan.content.slice(each.offset, each.length) for each in parts)


def _blob(path: str, content: Content, blobs: Mapping[Digest, object]) -> Digest | None:
    """Return the digest in the name of a blob of the cache; the write checks it."""
    digest = parse_path(path.partition("/")[2])
    return digest if isinstance(digest, Digest) and digest in blobs and content.size else None


def _hashed(content: Content, cancel: Cancel) -> tuple[Digest, str]:
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    for data in iterate_bytes(content):
        cancel.check()
        sha256.update(data)
        sha1.update(data)
    return Digest(sha256.hexdigest()), sha1.hexdigest()


class _Origins:
    """Finds where the bytes of a file come from."""

    def __init__(self, images: Iterable[CachedImage], inputs: Sequence[BuildInput]) -> None:
        self._images: dict[Digest, list[CachedImage]] = {}
        for image in images:
            for digest in {image.digest, *image.parts}:
                self._images.setdefault(digest, []).append(image)
        self._inputs: dict[Digest, list[BuildInput]] = {}
        for each in inputs:
            self._inputs.setdefault(each.digest, []).append(each)
        self._built_from = tuple(each for each in inputs if each.kind not in _NOT_BUILT_FROM)

    def file(self, path: str, size: int, digest: Digest, sha1: str | None) -> OutputFile:
        images = tuple(self._images.get(digest, ()))
        inputs = tuple(self._inputs.get(digest, ()))
        if images or inputs:
            return OutputFile(path, size, digest, sha1, images, inputs)
        return OutputFile(path, size, digest, sha1, inputs=self._built_from, copied=False)
