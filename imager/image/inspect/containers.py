"""Look into container images: OCI layouts, archives, image caches in them, and registries.

Only manifests and configurations are read, no layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from imager.cache.errors import NotAnImageCacheError
from imager.cache.open import open_cache
from imager.image.inspect.caches import cache_contents
from imager.image.inspect.model import (
    CacheContents,
    ContainerInfo,
    Inspection,
    LayerInfo,
    SourceInfo,
)
from imager.image.inspect.notes import Notes
from imager.oci.config import LARGEST_CONFIG, config_platform
from imager.oci.documents import load_fields
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, Layout, LayoutImage, entry_names
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.oci.source import ImageSource
from imager.support.errors import DependencyError, ImagerError, InputError, UnsupportedError

_MOST_IMAGES = 200
_DEEPEST = 3
_TALOS_LABEL = "alpha.talos.dev/version"
_CACHE, _IMAGES = "image-cache", "container-images"


def inspect_containers(path: Path) -> Inspection | None:
    """Return what is in the layout, archive or flat cache `path`; None if it is something else.

    Raises InputError if it cannot be read.
    """
    notes = Notes()
    found = _cache(path, notes)
    if found is not None:
        result = _result(str(path), _CACHE, found.size, notes)
        return replace(result, cache=found)
    layout = _layout(path)
    if layout is None:
        return None
    containers: list[ContainerInfo] = []
    for entry in layout.index.images[:_MOST_IMAGES]:
        name = (*entry_names(entry), str(entry.digest))[0]
        with notes.reading(name):
            image = LayoutImage(layout, entry)
            containers += _containers(image, image.root(), name, entry, notes)
    return _listed(str(path), containers, notes)


def inspect_reference(reference: Reference, settings: RegistrySettings) -> Inspection:
    """Return what a registry has at a reference, by its manifests and configurations.

    Raises InputError if it has nothing there, DependencyError if it fails.
    """
    notes = Notes()
    source = RegistryClient.from_settings(settings).image(reference)
    root = source.root()
    found = list(_containers(source, root, str(reference), root.descriptor(), notes))
    return _listed(str(reference), found, notes)


def _listed(name: str, containers: Iterable[ContainerInfo], notes: Notes) -> Inspection:
    found = tuple(containers)
    blobs = {layer.digest: layer.size for each in found for layer in each.layers}
    labels = (each.labels.get(_TALOS_LABEL, "") for each in found)
    result = _result(name, _IMAGES, sum(blobs.values()), notes)
    return replace(result, talos=next(filter(None, labels), ""), containers=found)


def _result(name: str, kind: str, size: int, notes: Notes) -> Inspection:
    return Inspection(
        SourceInfo(name, None, ()),
        kind,
        size,
        "",
        findings=tuple(notes.findings),
        unknown=tuple(notes.unknown),
    )


def _cache(path: Path, notes: Notes) -> CacheContents | None:
    """Return the image cache at `path`; None if it is no cache."""

    def fail(error: ImagerError) -> None:
        notes.damaged(str(path), error.message.removeprefix(f"{path}: "))

    try:
        opened = open_cache(path, fail=fail)
    except (NotAnImageCacheError, UnsupportedError):
        return None
    except InputError as error:
        # Other archives and layouts are no caches either.
        if _layout(path) is not None:
            return None
        fail(error)
        return CacheContents("", 0, 0, ())
    return cache_contents(opened.cache, "")


def _layout(path: Path) -> Layout | None:
    with _none_for(InputError, UnsupportedError):
        if path.is_dir():
            is_layout = (path / LAYOUT_FILE).is_file() and (path / INDEX_FILE).is_file()
            return Layout.open(path) if is_layout else None
        return Layout.open_archive(path)
    return None


@contextmanager
def _none_for(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds:
        return


def _containers(
    source: ImageSource, root: RawManifest, name: str, entry: Descriptor, notes: Notes
) -> Iterator[ContainerInfo]:
    """Yield the images of a manifest, or of an index and those in it."""
    pending = [(root, entry, _DEEPEST)]
    listed = 0
    while pending and listed < _MOST_IMAGES:
        manifest, own, left = pending.pop(0)
        listed += 1
        if found := _container(source, manifest, name, own, notes):
            yield found
        elif isinstance(manifest.document, Index) and left:
            for each in manifest.document.images[:_MOST_IMAGES]:
                with notes.reading(f"{name}: {each.digest}"):
                    pending.append((source.manifest(each.digest), each, left - 1))


def _container(
    source: ImageSource, manifest: RawManifest, name: str, entry: Descriptor, notes: Notes
) -> ContainerInfo | None:
    """Return an image or artifact; `entry` may tell its platform. None for an index."""
    document = manifest.document
    if not isinstance(document, ImageManifest):
        return None
    config = b""
    if document.config.size <= LARGEST_CONFIG:
        with notes.reading(f"{name}: configuration"):
            config = _config(source, document.config)
    platform = entry.platform or (None if document.is_artifact else config_platform(config))
    fields = load_fields(manifest.raw, where=name)
    kind = fields.text("artifactType") or ("artifact" if document.is_artifact else "image")
    return ContainerInfo(
        name,
        str(manifest.digest),
        kind,
        str(platform or ""),
        sum(blob.size for blob in document.blobs),
        tuple(LayerInfo(str(each.digest), each.media_type, each.size) for each in document.layers),
        {} if document.is_artifact else _labels(config, notes, name),
    )


def _config(source: ImageSource, config: Descriptor) -> bytes:
    sink = BytesIO()
    try:
        source.fetch_blob(config, sink)
    except DependencyError as error:
        raise InputError(error.message, hint=error.hint) from error
    return sink.getvalue()


def _labels(config: bytes, notes: Notes, name: str) -> Mapping[str, str]:
    if config:
        with notes.reading(f"{name}: configuration"):
            own = load_fields(config, where=name).child("config")
            labels = own.child("Labels") if own else None
            if labels is not None:
                return {key: labels.text(key) for key in sorted(labels.values)}
    return {}
