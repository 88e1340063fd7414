"""Image manifests and indexes: parsed with checks and written deterministically.

OCI image specification 1.1, manifest.md and image-index.md
(https://github.com/opencontainers/image-spec), and Docker's image manifest version 2, schema 2
(https://distribution.github.io/distribution/spec/manifest-v2-2/).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imager.oci.digest import Digest
from imager.oci.documents import Fields, dump_json, load_fields
from imager.oci.errors import InvalidImageError
from imager.oci.platform import Platform
from imager.support.errors import ImagerError, UnsupportedError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = f"{OCI_LAYER}+gzip"
OCI_LAYER_ZSTD = f"{OCI_LAYER}+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
ACCEPTED_TYPES = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_CONFIG_TYPES = frozenset({OCI_CONFIG, _DOCKER_CONFIG})

_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
_FOREIGN_LAYERS = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)
_ATTESTATION_KEY = "vnd.docker.reference.type"
# BuildKit's platform for attestations.
_NO_PLATFORM = Platform("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference from a document to another document or a blob; `size` in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    def annotation(self, key: str) -> str:
        """Return the annotation `key`, empty when there is none."""
        return dict(self.annotations).get(key, "")

    @property
    def is_attestation(self) -> bool:
        """Whether this index entry is BuildKit's provenance or SBOM rather than an image."""
        return (
            self.platform == _NO_PLATFORM
            or self.annotation(_ATTESTATION_KEY) == "attestation-manifest"
        )

    @property
    def is_foreign(self) -> bool:
        """Whether this is a layer that the registry may lack, such as a Windows base layer.

        OCI image specification 1.1, layer.md, section Non-Distributable Layers.
        """
        return self.media_type.startswith(_FOREIGN_LAYERS)

    def to_json(self) -> dict[str, object]:
        """Return the descriptor as a JSON object, keys in the specification's order."""
        value: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform is not None:
            names = {"architecture": self.platform.architecture, "os": self.platform.os}
            variant = self.platform.variant
            value["platform"] = names | ({"variant": variant} if variant else {})
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        return value


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """The manifest of one image: its configuration and its layers, base layer first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The configuration and the layers, without duplicate digests."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())

    @property
    def is_artifact(self) -> bool:
        """Whether this is not a container image, judged by the media type of its configuration."""
        return self.config.media_type not in _CONFIG_TYPES


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests under one name, usually one per platform.

    Entries whose media types are not those of images and indexes are skipped, as image-index.md
    requires of readers.
    """

    media_type: str
    manifests: tuple[Descriptor, ...]

    @property
    def images(self) -> tuple[Descriptor, ...]:
        """The entries that are images, without attestations."""
        return tuple(entry for entry in self.manifests if not entry.is_attestation)


Document = ImageManifest | Index


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest or index: its exact bytes, their digest, and the parsed document."""

    raw: bytes
    digest: Digest
    document: Document

    @classmethod
    def parse(cls, raw: bytes, *, media_type: str = "", where: str = "manifest") -> RawManifest:
        """Parse the manifest in `raw`; `media_type` is the one given by the sender.

        Raises InputError or UnsupportedError as `parse_manifest`.
        """
        document = parse_manifest(raw, media_type=media_type, where=where)
        return cls(raw, Digest.of(raw), document)

    @property
    def media_type(self) -> str:
        """The media type of the document itself."""
        return self.document.media_type

    def descriptor(self, platform: Platform | None = None) -> Descriptor:
        """Return the descriptor of this manifest for an index."""
        return Descriptor(self.media_type, self.digest, len(self.raw), platform)


def parse_manifest(raw: bytes, *, media_type: str = "", where: str = "manifest") -> Document:
    """Parse the image manifest or index in `raw`.

    `media_type` is the one given by the sender (parameters ignored). It applies when the document
    has no `mediaType`, and is an error when the two name different kinds. Raises InputError for a
    document that violates its specification or is larger than 4 MiB, UnsupportedError for Docker's
    schema 1 and for other media types.
    """
    fields = load_fields(raw, where=where)
    kind = _kind(fields, media_type.partition(";")[0].strip().lower())
    version = fields.values.get("schemaVersion")
    if version != 2:
        raise InvalidImageError(f"{where}: schemaVersion must be 2, not {version!r}")
    if kind in INDEX_TYPES:
        _refuse_keys(fields, "config", "layers")
        return Index(kind, tuple(_entries(fields)))
    _refuse_keys(fields, "manifests")
    config = fields.child("config")
    if config is None:
        raise InvalidImageError(f"{where}: config is missing")
    layers = tuple(parse_descriptor(item) for item in fields.children("layers"))
    return ImageManifest(kind, parse_descriptor(config), layers)


def _kind(fields: Fields, hint: str) -> str:
    written = fields.text("mediaType")
    if written.startswith(_SCHEMA_1) or hint.startswith(_SCHEMA_1) or "fsLayers" in fields.values:
        raise UnsupportedError(
            f"{fields.where} is a Docker schema 1 manifest, which is not supported",
            hint="push the image again with a current Docker, skopeo or crane",
        )
    if written and written not in ACCEPTED_TYPES:
        raise UnsupportedError(f"{fields.where}: media type {written!r} is not an image or index")
    # Two readers that trust different ones would see different images (CVE-2021-41190).
    if written and hint in ACCEPTED_TYPES and written != hint:
        raise InvalidImageError(
            f"{fields.where} was sent as {hint}, but its mediaType is {written}"
        )
    if written or hint in ACCEPTED_TYPES:
        return written or hint
    return OCI_INDEX if "manifests" in fields.values else OCI_MANIFEST


def _refuse_keys(fields: Fields, *keys: str) -> None:
    for key in keys:
        if key in fields.values:
            raise InvalidImageError(f"{fields.where} is ambiguous: an image and an index ({key})")


def _entries(fields: Fields) -> Iterator[Descriptor]:
    for entry in fields.children("manifests"):
        if entry.text("mediaType") in (*ACCEPTED_TYPES, ""):
            yield parse_descriptor(entry)


def parse_descriptor(fields: Fields) -> Descriptor:
    """Parse the descriptor in a JSON object; raises InputError or UnsupportedError."""
    media_type = fields.text("mediaType")
    if not media_type:
        raise InvalidImageError(f"{fields.where}: mediaType is missing")
    return Descriptor(
        # Thousands of descriptors share a few media types.
        sys.intern(media_type),
        _digest(fields),
        fields.size("size"),
        parse_platform(fields.child("platform")),
        parse_annotations(fields.child("annotations")),
        fields.text("artifactType"),
        fields.texts("urls"),
    )


def _digest(fields: Fields) -> Digest:
    try:
        return Digest.parse(fields.text("digest"))
    except ImagerError as error:
        raise type(error)(f"{fields.where}: {error.message}", hint=error.hint) from error


def parse_platform(fields: Fields | None) -> Platform | None:
    """Return the platform in a JSON object, None without one; raises InputError."""
    names = [fields.text(key) for key in ("os", "architecture", "variant")] if fields else []
    return Platform(*names) if any(names) else None


def parse_annotations(fields: Fields | None) -> tuple[tuple[str, str], ...]:
    """Return the annotations in a JSON object, none without one; raises InputError."""
    if fields is None:
        return ()
    return tuple((key, fields.text(key)) for key in fields.values)


def manifest_json(config: Descriptor, layers: Iterable[Descriptor]) -> bytes:
    """Serialize the OCI image manifest of `config` and `layers`, deterministically."""
    return dump_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
    )


def index_json(manifests: Iterable[Descriptor]) -> bytes:
    """Return the OCI index (an image index, a layout's index.json) of `manifests`, in order."""
    return dump_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [entry.to_json() for entry in manifests],
        }
    )
