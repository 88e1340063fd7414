"""An image cache as what is pushed: an OCI layout as it is, a tree or tar packed on the fly.

The layer of a tree is planned and hashed where its files lie, and read a second time when it is
sent: it takes no space on disk. It is the same layer, with the same digest, as in the layout
that `create_cache` makes of the same images.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from imager.checks import checking
from imager.errors import InputError
from imager.extents import Content, StreamRange
from imager.filetree import TreeFile
from imager.imagecache.cache import ImageCache
from imager.imagecache.image import TIMESTAMP, cache_image
from imager.imagecache.open import is_layout, only_layer, open_whole_cache
from imager.oci.digest import Digest
from imager.oci.layout import Layout
from imager.oci.manifest import OCI_LAYER, Descriptor, Index, RawManifest, index_json
from imager.oci.push import PushBlob, PushPlan, plan_layout
from imager.reading import iterate_bytes
from imager.reporter import Reporter
from imager.tarball import plan_tar


def plan_cache(path: Path, *, reporter: Reporter) -> PushPlan:
    """Return the push of the cache at `path`.

    Raises InputError when there is none, when it is damaged, and for a compressed tar.
    """
    if not is_layout(path):
        return _plan_tree(open_whole_cache(path).cache, reporter)
    plan = plan_layout(Layout.open(path))
    for manifest in plan.manifests:
        if not isinstance(manifest.document, Index):
            only_layer(str(path), manifest)
    return plan


def _plan_tree(cache: ImageCache, reporter: Reporter) -> PushPlan:
    files = [TreeFile(file.path, file.content) for file in cache.files]
    content = plan_tar(sorted(files, key=lambda file: file.path), timestamp=TIMESTAMP).content
    if any(isinstance(extent.source, StreamRange) for extent in content.extents):
        raise InputError(
            f"{cache.source} is compressed, so it cannot be pushed as it is",
            hint="unpack it and push the folder",
        )
    layer = Descriptor(OCI_LAYER, _hash(content, cache, reporter), content.size)
    image = cache_image(cache.platforms, layer, diff_id=layer.digest)
    manifests = [RawManifest.parse(image.manifest)]
    if len(image.entries) > 1:
        manifests.append(RawManifest.parse(index_json(image.entries)))
    config = PushBlob(image.config_descriptor, Content.of_bytes(image.config))
    return PushPlan((config, PushBlob(layer, content)), tuple(manifests))


def _hash(content: Content, cache: ImageCache, reporter: Reporter) -> Digest:
    """Return the digest of the layer; the blobs in it are checked beside."""
    digest = hashlib.sha256()
    with (
        reporter.transfer("hashing the layer", content.size) as advance,
        checking(cache.checks) as raise_failed,
    ):
        for data in iterate_bytes(content):
            raise_failed()
            digest.update(data)
            advance(len(data))
    return Digest(digest.hexdigest())
