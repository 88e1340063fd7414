"""Load an image cache from the files of a tree, verifying its manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from imager.cache.blobnames import BlobNames
from imager.cache.cache import ImageCache
from imager.cache.errors import DamagedCacheError, NotAnImageCacheError
from imager.cache.paths import parse_path
from imager.content.extents import Content
from imager.content.reading import read_file
from imager.content.tree import File, Tree
from imager.oci.config import LARGEST_CONFIG, config_platform
from imager.oci.digest import Digest
from imager.oci.documents import MAX_DOCUMENT
from imager.oci.manifest import ImageManifest, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.support.errors import Fail, ImagerError, InputError, stop_at

LARGEST_MANIFEST = MAX_DOCUMENT
_DAMAGED = "the cache is damaged: copy or create it again"


def load_cache(source: str, tree: Tree, *, fail: Fail = stop_at) -> ImageCache:
    """Load the cache in `tree`.

    Every manifest must match the digest in its name or that of its copy under digest/. `fail`
    receives an InputError for each mismatch and if there are no manifests, and an UnsupportedError
    for each manifest that is not supported.
    """
    known: list[File] = []
    manifests: dict[Reference, RawManifest] = {}
    blobs: dict[Digest, File] = {}
    # Identical manifests are at a tag and a digest, and often in several repositories.
    parsed: dict[bytes, RawManifest] = {}
    ignored = 0
    for path in tree.others:
        hint = "a cache contains only files and folders: copy it again, following links"
        fail(DamagedCacheError(f"{source}: {path} is a link or a special file", hint=hint))
    for file in tree.files:
        content = file.content
        match parse_path(file.path):
            case Digest() as digest:
                blobs[digest] = file
            case Reference() as reference:
                manifest = _checked_manifest(source, file, reference, fail)
                if manifest is not None:
                    manifest = parsed.setdefault(manifest.raw, manifest)
                    manifests[reference] = manifest
                    # What was checked is what is copied.
                    content = Content.of_bytes(manifest.raw)
            case None:
                ignored += 1
                continue
        known.append(_without_data(file, content))
    if not manifests:
        fail(_no_cache(source))
    _check_tags(source, manifests, fail)
    configs = _read_configs(blobs, manifests)
    damaged = frozenset(digest for digest, data in configs.items() if Digest.of(data) != digest)
    for digest in sorted(damaged):
        fail(_mismatch(source, BlobNames(manifests).of(digest)))
    return ImageCache(
        source,
        tuple(known),
        manifests,
        blobs={digest: _without_data(file, file.content) for digest, file in blobs.items()},
        config_platforms=_config_platforms(
            manifests.values(),
            {digest: data for digest, data in configs.items() if digest not in damaged},
        ),
        damaged=damaged,
        ignored=ignored,
    )


def _read_configs(
    blobs: Mapping[Digest, File], manifests: Mapping[Reference, RawManifest]
) -> Mapping[Digest, bytes]:
    """Return the cached image configurations by their digests, which are not checked."""
    wanted = {
        manifest.document.config.digest
        for manifest in manifests.values()
        if isinstance(manifest.document, ImageManifest)
    }
    found = {digest: read_file(blobs[digest], LARGEST_CONFIG) for digest in wanted & blobs.keys()}
    return {digest: data for digest, data in found.items() if data is not None}


def _without_data(file: File, content: Content) -> File:
    """Return the file with `content`; a file that does not change is not copied."""
    if file.data is None and file.content is content:
        return file
    return replace(file, content=content, data=None)


def _config_platforms(
    manifests: Iterable[RawManifest], configs: Mapping[Digest, bytes]
) -> Mapping[Digest, Platform]:
    return {
        manifest.digest: platform
        for manifest in manifests
        if isinstance(manifest.document, ImageManifest)
        and (data := configs.get(manifest.document.config.digest)) is not None
        and (platform := config_platform(data)) is not None
    }


def _damaged(source: str, problem: str) -> InputError:
    return DamagedCacheError(f"{source}: {problem}", hint=_DAMAGED)


def _mismatch(source: str, what: str) -> InputError:
    return _damaged(source, f"{what} does not match its digest")


def _checked_manifest(
    source: str, file: File, reference: Reference, fail: Fail
) -> RawManifest | None:
    data = read_file(file, LARGEST_MANIFEST)
    if data is None:
        fail(_damaged(source, f"{file.path} is too large for a manifest"))
        return None
    try:
        manifest = RawManifest.parse(data, where=f"{source}: {file.path}")
    except ImagerError as error:
        fail(error)
        return None
    if reference.digest not in (None, manifest.digest):
        fail(_mismatch(source, file.path))
        return None
    return manifest


def _check_tags(source: str, manifests: Mapping[Reference, RawManifest], fail: Fail) -> None:
    """Check the file of each tag, whose name has no digest, against the copy under digest/."""
    for reference, manifest in manifests.items():
        copy = Reference(reference.registry, reference.repository, None, manifest.digest)
        if copy not in manifests:
            name = f"digest/{manifest.digest.file_name}"
            problem = f"the manifest of {reference} is damaged, or its copy {name} is missing"
            fail(_damaged(source, problem))


def _no_cache(source: str) -> InputError:
    return NotAnImageCacheError(
        f"{source} is not an image cache: it contains no manifests",
        hint="create one with `imager images cache-create`",
    )
