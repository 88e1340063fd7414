"""Open an image cache in a registry by downloading its single layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imager.cache.contents import BlobSource
from imager.cache.opened import OpenedCache, only_layer, platforms_of, select_entry
from imager.content.extents import Content
from imager.oci.manifest import Descriptor, Index
from imager.oci.reference import Reference
from imager.oci.settings import RegistrySettings
from imager.support.arch import Arch
from imager.support.errors import Fail, stop_at
from imager.support.folders import check_free_space
from imager.support.partials import scratch_folder
from imager.support.reporter import Reporter
from imager.support.workers import Work

if TYPE_CHECKING:
    from imager.cache.blobstore import BlobStore
    from imager.oci.source import ImageSource


@dataclass(frozen=True, slots=True)
class Puller:
    """Pulls caches from registries and stores their layers in the folder `layer_cache`."""

    registries: RegistrySettings
    layer_cache: Path
    reporter: Reporter

    def pull(
        self, reference: Reference, *, arch: Arch | None = None, fail: Fail = stop_at
    ) -> OpenedCache:
        """Pull and open the cache with the image reference `reference`.

        `arch` and `fail` are as for `open_cache`. Raises as `open_cache`, and DependencyError if
        the registry fails.
        """
        from imager.cache.blobstore import BlobStore
        from imager.cache.tars import open_layer
        from imager.oci.registry import RegistryClient

        store = BlobStore.open(self.layer_cache)
        image = RegistryClient.from_settings(self.registries).image(reference)
        source, root, entries = str(reference), image.root(), None
        if isinstance(root.document, Index):
            entries = platforms_of(root.document)
            root = image.manifest(select_entry(source, root.document, arch).digest)
        layer = only_layer(source, root, listed=source)
        content = Content.of_file(self._fetch(image, layer, store, source))
        opened = open_layer(source, layer, content, fail, listed=source)
        if arch is not None:
            opened.cache.require_arch(arch)
        return replace(opened, entries=entries)

    def layer(self, image: ImageSource, layer: Descriptor, label: str) -> Content:
        """Return a layer of any image, checked by its digest; one in a registry is kept.

        `label` names the image in progress output. Raises as `ImageSource.fetch_blob`.
        """
        from imager.cache.blobstore import BlobStore
        from imager.oci.sinks import Discard

        content = image.blob_content(layer)
        if content is None:
            store = BlobStore.open(self.layer_cache)
            return Content.of_file(self._fetch(image, layer, store, label))
        image.fetch_blob(layer, Discard())
        return content

    def _fetch(self, image: ImageSource, layer: Descriptor, store: BlobStore, label: str) -> Path:
        if not store.has(layer):
            check_free_space(store.folder, layer.size)
        with self.reporter.transfer(f"pulling {label}", layer.size) as advance:
            return store.get(BlobSource(layer, image), Work(advance))


@dataclass(frozen=True, slots=True)
class PullOptions:
    """Options for pulling; `layer_cache` is a folder of blobs shared between runs."""

    registries: RegistrySettings = field(default_factory=RegistrySettings)
    layer_cache: Path | None = None

    @contextmanager
    def puller(self, reporter: Reporter) -> Iterator[Puller]:
        """Yield a Puller; without a layer cache, pulled layers are deleted at exit."""
        with scratch_folder() as scratch:
            yield Puller(self.registries, self.layer_cache or scratch, reporter)


DEFAULT_PULL = PullOptions()
