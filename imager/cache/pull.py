"""Opening an image cache that is an image in a registry: its one layer is downloaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imager.cache.blobstore import LayerCache
from imager.cache.cache import ImageCache
from imager.cache.contents import BlobSource
from imager.cache.opened import (
    OpenedCache,
    Select,
    only_layer,
    platforms_of,
    select_for,
    select_only,
)
from imager.cache.tars import open_layer
from imager.content.extents import Content
from imager.oci.manifest import Descriptor, Index
from imager.oci.reference import Reference
from imager.support.arch import Arch
from imager.support.errors import Fail, stop_at
from imager.support.folders import check_free_space
from imager.support.reporter import Reporter
from imager.support.workers import Work

if TYPE_CHECKING:
    from imager.oci.registry import RegistryClient
    from imager.oci.remote import RemoteImage


def pull_cache(
    reference: Reference,
    *,
    arch: Arch,
    client: RegistryClient,
    layer_cache: LayerCache,
    reporter: Reporter,
) -> ImageCache:
    """Return the cache that is the image `reference` in a registry.

    Its layer goes to `layer_cache`. Raises as `open_cache`, and DependencyError when the registry
    fails.
    """
    pull = _Pull(client.image(reference), layer_cache, reporter)
    cache = pull.open(partial(select_for, arch=arch), stop_at).cache
    cache.require_arch(arch)
    return cache


def pull_whole_cache(
    reference: Reference,
    *,
    client: RegistryClient,
    layer_cache: LayerCache,
    reporter: Reporter,
    fail: Fail = stop_at,
) -> OpenedCache:
    """Return the cache that is the image `reference` in a registry, with all its platforms.

    Its layer goes to `layer_cache`. Raises as `open_whole_cache`, and DependencyError when the
    registry fails.
    """
    return _Pull(client.image(reference), layer_cache, reporter).open(select_only, fail)


@dataclass(frozen=True, slots=True)
class _Pull:
    image: RemoteImage
    layer_cache: LayerCache
    reporter: Reporter

    def open(self, select: Select, fail: Fail) -> OpenedCache:
        """Return the cache; of an index, the one that `select` chooses."""
        source, root, entries = str(self.image.reference), self.image.root(), None
        if isinstance(root.document, Index):
            entries = platforms_of(root.document)
            root = self.image.manifest(select(source, root.document).digest)
        layer = only_layer(source, root, listed=source)
        content = Content.of_file(self._fetch(layer))
        opened = open_layer(source, layer, content, fail, listed=source)
        return replace(opened, entries=entries)

    def _fetch(self, layer: Descriptor) -> Path:
        if not self.layer_cache.has(layer):
            check_free_space(self.layer_cache.folder, layer.size)
        with self.reporter.transfer(f"pulling {self.image.reference}", layer.size) as advance:
            return self.layer_cache.get(BlobSource(layer, self.image), Work(advance))
