"""Put layers on top of an image, as an OCI layout that `docker load` takes too.

OCI image specification 1.1, config.md and image-layout.md; for manifest.json Docker's image
specification 1.2 (https://github.com/moby/moby/blob/master/image/spec/v1.2.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from imager.content.extents import Content
from imager.content.reading import hash_content
from imager.content.tree import File, Tree
from imager.oci.digest import Digest
from imager.oci.documents import dump_json, load_fields
from imager.oci.errors import InvalidImageError
from imager.oci.layout import (
    CONTAINERD_NAME,
    INDEX_FILE,
    LAYOUT_FILE,
    REF_NAME,
    blob_path,
    oci_layout_json,
)
from imager.oci.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    RawManifest,
    index_json,
    manifest_json,
)
from imager.oci.platform import Platform
from imager.oci.push import PushBlob, PushPlan
from imager.oci.reference import Reference

_DOCKER_MANIFEST = "manifest.json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_OCI_TYPES = {_DOCKER_LAYER: OCI_LAYER, f"{_DOCKER_LAYER}.gzip": OCI_LAYER_GZIP}


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image to build on: its configuration as JSON, and its layers from the bottom up.

    The configuration may list more layers.
    """

    config: bytes
    layers: tuple[PushBlob, ...]


@dataclass(frozen=True, slots=True)
class LayeredImage:
    """An image: its platform, configuration as JSON, and layers from the bottom up."""

    platform: Platform
    config: bytes
    layers: tuple[PushBlob, ...]

    @property
    def manifest(self) -> bytes:
        """The image's OCI manifest."""
        return manifest_json(self._config_blob.blob, [layer.blob for layer in self.layers])

    @property
    def _config_blob(self) -> PushBlob:
        descriptor = Descriptor(OCI_CONFIG, Digest.of(self.config), len(self.config))
        return PushBlob(descriptor, Content.of_bytes(self.config))

    def push_plan(self) -> PushPlan:
        """Return the plan to push the image to a registry."""
        return PushPlan((self._config_blob, *self.layers), (RawManifest.parse(self.manifest),))

    def layout(self, tag: Reference) -> Tree:
        """Return an OCI layout of the image, named `tag`, with Docker's manifest.json."""
        manifest = self.manifest
        names = ((CONTAINERD_NAME, str(tag)), (REF_NAME, tag.tag or "latest"))
        entry = Descriptor(
            OCI_MANIFEST, Digest.of(manifest), len(manifest), self.platform, annotations=names
        )
        config = self._config_blob
        listed = {
            "Config": blob_path(config.blob.digest),
            "RepoTags": [str(tag)],
            "Layers": [blob_path(layer.blob.digest) for layer in self.layers],
        }
        contents = {
            LAYOUT_FILE: oci_layout_json(),
            INDEX_FILE: index_json([entry]),
            _DOCKER_MANIFEST: dump_json([listed]),
            blob_path(entry.digest): manifest,
        }
        documents = [File(path, Content.of_bytes(data)) for path, data in contents.items()]
        blobs = {blob_path(each.blob.digest): each.content for each in (config, *self.layers)}
        return Tree.of([*documents, *(File(path, each) for path, each in blobs.items())])


def add_layers(
    base: BaseImage, layers: Sequence[Content], *, platform: Platform, created: int, where: str
) -> LayeredImage:
    """Return `base` with the uncompressed tars `layers` on top, for `platform`.

    `created` is in seconds since 1970. The history, which would have to tell of each layer, is left
    out. Reads each layer once. Raises InputError, naming the image `where`, if its configuration
    does not fit its layers.
    """
    fields = load_fields(base.config, where=f"{where}: configuration")
    rootfs = fields.child("rootfs")
    diff_ids = rootfs.texts("diff_ids") if rootfs else ()
    if len(diff_ids) < len(base.layers):
        raise InvalidImageError(
            f"{where}: its configuration lists {len(diff_ids)} layers, its manifest"
            f" {len(base.layers)}",
            hint="it is damaged: copy or make it again",
        )
    added = [_uncompressed(each) for each in layers]
    below = diff_ids[: len(base.layers)]
    config = {
        **fields.values,
        "architecture": platform.architecture,
        "os": platform.os,
        "created": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rootfs": {
            "type": "layers",
            "diff_ids": [*below, *(str(each.blob.digest) for each in added)],
        },
    }
    config.pop("history", None)
    config.pop("variant", None)
    return LayeredImage(platform, dump_json(config), (*_as_oci(base.layers), *added))


def _uncompressed(layer: Content) -> PushBlob:
    digest = Digest(hash_content(layer).hex())
    return PushBlob(Descriptor(OCI_LAYER, digest, layer.size), layer)


def _as_oci(layers: Sequence[PushBlob]) -> Iterator[PushBlob]:
    """Yield `layers` with the media types that an OCI manifest has."""
    for layer in layers:
        media_type = _OCI_TYPES.get(layer.blob.media_type, layer.blob.media_type)
        yield PushBlob(replace(layer.blob, media_type=media_type), layer.content)
