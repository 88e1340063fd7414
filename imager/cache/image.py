"""Describe an image cache as an OCI image: one layer, and an index entry per platform."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.oci.digest import Digest
from imager.oci.documents import dump_json
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, REF_NAME, blob_path, oci_layout_json
from imager.oci.manifest import OCI_CONFIG, OCI_MANIFEST, Descriptor, index_json, manifest_json
from imager.oci.platform import Platform

# The modification time of files in the layer, in seconds since 1970.
TIMESTAMP = 0
_REF = "latest"


@dataclass(frozen=True, slots=True)
class CacheImage:
    """The documents besides the layer, and the index entries, which share one manifest."""

    config: bytes
    manifest: bytes
    entries: tuple[Descriptor, ...]

    @property
    def config_descriptor(self) -> Descriptor:
        """The manifest's descriptor of the configuration."""
        return Descriptor(OCI_CONFIG, Digest.of(self.config), len(self.config))


def cache_image(
    platforms: Collection[Platform], layer: Descriptor, *, diff_id: Digest
) -> CacheImage:
    """Return the image of a cache for `platforms`; `diff_id` is the plain layer's digest."""
    ordered = sorted(platforms) or [Platform("linux", "amd64")]
    config = dump_json(
        {
            "architecture": ordered[0].architecture,
            "os": ordered[0].os,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
        }
    )
    manifest = manifest_json(Descriptor(OCI_CONFIG, Digest.of(config), len(config)), [layer])
    # Only one entry has the name: umoci reports a second one as an ambiguous tag.
    named = Descriptor(
        OCI_MANIFEST, Digest.of(manifest), len(manifest), ordered[0], ((REF_NAME, _REF),)
    )
    others = (replace(named, platform=each, annotations=()) for each in ordered[1:])
    return CacheImage(config, manifest, (named, *others))


def layout_tree(image: CacheImage, layer: File) -> Tree:
    """Return the OCI layout of `image`: the layer file first, then the documents."""
    documents = {
        blob_path(Digest.of(image.config)): image.config,
        blob_path(Digest.of(image.manifest)): image.manifest,
        INDEX_FILE: index_json(image.entries),
        LAYOUT_FILE: oci_layout_json(),
    }
    files = (File(path, Content.of_bytes(data)) for path, data in documents.items())
    return Tree.of([layer, *files])
