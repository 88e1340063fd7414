"""Represent an image read for a cache: its manifests by name, and its blobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from imager.cache.contents import BlobSource
from imager.oci.errors import InvalidImageError, NotFoundError
from imager.oci.manifest import Descriptor, ImageManifest, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.source import ImageSource


@dataclass(frozen=True, slots=True)
class ReadImage:
    """An image, or a signature of an image, which has no `name`.

    `asked` is the reference that a registry was asked for.
    """

    manifests: tuple[tuple[Reference, bytes], ...] = ()
    blobs: tuple[BlobSource, ...] = ()
    platforms: frozenset[Platform] = frozenset()
    warnings: tuple[str, ...] = ()
    name: Reference | None = None
    asked: Reference | None = None


def whole_image(
    name: Reference, source: ImageSource, *, root: RawManifest, parts: Sequence[RawManifest]
) -> ReadImage:
    """Return the image `name` with the manifest or index `root` and its manifests `parts`.

    Foreign layers missing from `source` are left out with a warning. Raises InputError for a nested
    index.
    """
    names = [(name, root), *((replace(name, tag=None), part) for part in parts)]
    blobs = {blob.digest: blob for part in parts for blob in _blobs(part)}
    left_out = [blob for blob in blobs.values() if blob.is_foreign and not _is_there(blob, source)]
    return ReadImage(
        tuple((each, manifest.raw) for key, manifest in names for each in _names(key, manifest)),
        tuple(BlobSource(blob, source) for blob in blobs.values() if blob not in left_out),
        warnings=tuple(_foreign_warning(name, blob) for blob in left_out),
    )


def _foreign_warning(name: Reference, blob: Descriptor) -> str:
    where = ", ".join(blob.urls[:2]) or "no URL"
    return (
        f"{name}: foreign layer {blob.digest} is left out: its registry does not have it, and it "
        f"cannot be fetched from {where}"
    )


def _is_there(blob: Descriptor, source: ImageSource) -> bool:
    try:
        source.blob_content(blob)
    except NotFoundError:
        return False
    return True


def _names(name: Reference, manifest: RawManifest) -> Iterator[Reference]:
    """Yield the cache names of a manifest: its tag, if any, and its digest."""
    if name.tag is not None:
        yield replace(name, digest=None)
    yield replace(name, tag=None, digest=manifest.digest)


def _blobs(manifest: RawManifest) -> tuple[Descriptor, ...]:
    if not isinstance(manifest.document, ImageManifest):
        raise InvalidImageError(f"manifest {manifest.digest} is an index nested in an index")
    return manifest.document.blobs
