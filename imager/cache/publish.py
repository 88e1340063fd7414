"""Plan the push of an image cache: an OCI layout unchanged, a tree or tar packed on the fly.

The layer of a tree is planned and hashed in place, then read again while it is sent, so it takes no
disk space. It equals the layer that `write_gathered` writes for the same images, digest included.
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from pathlib import Path

from imager.cache.cache import ImageCache
from imager.cache.image import TIMESTAMP, cache_image
from imager.cache.open import is_layout, open_cache
from imager.cache.opened import LAYER_CODECS, only_layer
from imager.cache.tars import open_tar_layout
from imager.content.compression import detect_codec
from imager.content.digests import checking
from imager.content.extents import Content
from imager.content.reading import iterate_bytes
from imager.content.tar import plan_tar
from imager.oci.digest import Digest
from imager.oci.layout import Layout
from imager.oci.manifest import OCI_LAYER, Descriptor, Index, RawManifest, index_json
from imager.oci.plainfile import PlainStreams
from imager.oci.push import PushBlob, PushPlan, plan_layout
from imager.support.reporter import Reporter


def plan_cache(path: Path, *, reporter: Reporter) -> PushPlan:
    """Plan the push of the cache at `path`.

    A layout is pushed unchanged, unless its layer lacks folders that machines require. Raises
    InputError if there is no cache or it is damaged, HostError if the disk is too full to
    decompress a tar.
    """
    layout = _plan_layout(path) if is_layout(path) else None
    if layout is not None and not _may_lack_folders(layout):
        return layout
    tree = _tree_to_pack(path, reporter)
    if tree is not None:
        return _plan_tree(tree, reporter)
    return layout or _plan_archive(path, reporter)


def _tree_to_pack(path: Path, reporter: Reporter) -> ImageCache | None:
    """Return the cache to pack as a new layer, or None if its own layer can be pushed."""
    opened = open_cache(path)
    if opened.layer is not None:
        if not opened.lacking:
            return None
        reporter.warn(
            f"{path}: the layer lacks folders that Talos needs; adding them changes its digest"
        )
    if opened.codec is None:
        return opened.cache
    with reporter.waiting(f"decompressing {path}"):
        return opened.cache.readable_in_any_order()


def _plan_layout(path: Path) -> PushPlan:
    plan = plan_layout(Layout.open(path))
    for manifest in plan.manifests:
        if not isinstance(manifest.document, Index):
            only_layer(str(path), manifest, listed=f"NAME=oci:{path}")
    return plan


def _may_lack_folders(plan: PushPlan) -> bool:
    """Whether to check the layer's folders: only a single uncompressed layer is quick to read."""
    layers = [each for each in plan.blobs if each.blob.media_type in LAYER_CODECS]
    return len(layers) == 1 and LAYER_CODECS[layers[0].blob.media_type] is None


def _plan_archive(path: Path, reporter: Reporter) -> PushPlan:
    plan = plan_layout(open_tar_layout(path))
    compressed = detect_codec(path) is not None
    with reporter.waiting(f"decompressing {path}") if compressed else nullcontext():
        contents = PlainStreams(path).plain(each.content for each in plan.blobs)
    blobs = (each.blob for each in plan.blobs)
    return PushPlan(tuple(map(PushBlob, blobs, contents)), plan.manifests)


def _plan_tree(cache: ImageCache, reporter: Reporter) -> PushPlan:
    tree = cache.tree.with_files(sorted(cache.files, key=lambda file: file.path))
    content = plan_tar(tree, timestamp=TIMESTAMP).content
    layer = Descriptor(OCI_LAYER, _hash(content, cache, reporter), content.size)
    image = cache_image(cache.platforms, layer, diff_id=layer.digest)
    manifests = [RawManifest.parse(image.manifest)]
    if len(image.entries) > 1:
        manifests.append(RawManifest.parse(index_json(image.entries)))
    config = PushBlob(image.config_descriptor, Content.of_bytes(image.config))
    return PushPlan((config, PushBlob(layer, content)), tuple(manifests))


def _hash(content: Content, cache: ImageCache, reporter: Reporter) -> Digest:
    """Return the digest of the layer, verifying its blobs in the same pass."""
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
