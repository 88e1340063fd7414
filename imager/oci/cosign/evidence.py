"""Signatures of an image as cosign attaches them, read with limits and not yet verified.

cosign 2 (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md): a manifest with the
tag `sha256-<hex>.sig` has a layer for each signature. The layer is the signed payload; signature,
certificate and log entry are annotations. cosign 3: each signature is a Sigstore bundle
(https://docs.sigstore.dev/about/bundle/), the layer of an artifact that refers to the image.
Order and limits are those of Talos (internal/pkg/containers/image/verify).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from imager.oci.digest import Digest
from imager.oci.manifest import Descriptor, ImageManifest, Index, RawManifest
from imager.oci.signature import signature_tags
from imager.oci.source import ByteSink
from imager.support.errors import InputError
from imager.support.units import MIB, format_size

LARGEST_SIGNATURE = 1 * MIB
LARGEST_MANIFEST = 128 << 10
MOST_SIGNATURES = 100

_BUNDLES = "application/vnd.dev.sigstore.bundle"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_CERTIFICATE = "dev.sigstore.cosign/certificate"
_LOG_ENTRY = "dev.sigstore.cosign/bundle"


class NotVerifiedError(InputError):
    """A signature does not prove what the policy requires; the message is the reason."""


@dataclass(frozen=True, slots=True)
class SimpleSignature:
    """A signature of cosign 2 over `payload`.

    `certificate` (PEM) and `log_entry` (JSON) are empty if the annotations lack them.
    """

    payload: bytes
    signature: bytes
    certificate: str = ""
    log_entry: str = ""


@dataclass(frozen=True, slots=True)
class BundleSignature:
    """A signature of cosign 3: a Sigstore bundle, as JSON."""

    raw: bytes


Signature = SimpleSignature | BundleSignature


@dataclass(frozen=True, slots=True)
class Repository:
    """The manifests and blobs of the repository of a signed image.

    `manifest` returns the manifest with a tag or digest, None if it is missing. `fetch` writes a
    blob to a sink and checks its size and digest. Both raise InputError for damaged data.
    """

    manifest: Callable[[str | Digest], RawManifest | None]
    fetch: Callable[[Descriptor, ByteSink], None]

    def signature_layers(self, signed: Digest) -> tuple[Descriptor, ...]:
        """Return the layers with signatures of the image with the digest `signed`.

        If there are bundles, signatures of the older form are ignored, as by cosign and Talos.
        """
        simple, bundles = signature_tags(signed)
        found = tuple(islice(self._bundle_layers(bundles), MOST_SIGNATURES))
        if found:
            return found
        return self._layers(simple)[:MOST_SIGNATURES]

    def _bundle_layers(self, tag: str) -> Iterator[Descriptor]:
        root = self._limited(tag)
        names: list[str | Digest] = [tag]
        if root is not None and isinstance(root.document, Index):
            names += [entry.digest for entry in root.document.manifests[:MOST_SIGNATURES]]
        for name in names:
            yield from (each for each in self._layers(name) if each.media_type.startswith(_BUNDLES))

    def _layers(self, name: str | Digest) -> tuple[Descriptor, ...]:
        found = self._limited(name)
        document = None if found is None else found.document
        return document.layers if isinstance(document, ImageManifest) else ()

    def _limited(self, name: str | Digest) -> RawManifest | None:
        found = self.manifest(name)
        if found is not None and len(found.raw) > LARGEST_MANIFEST:
            raise NotVerifiedError(f"{name} exceeds {format_size(LARGEST_MANIFEST)}")
        return found

    def read(self, layer: Descriptor) -> Signature:
        """Read the signature in `layer`; raises NotVerifiedError for one that is not valid."""
        if layer.size > LARGEST_SIGNATURE:
            raise NotVerifiedError(
                f"the signature of {layer.size} bytes exceeds {format_size(LARGEST_SIGNATURE)}"
            )
        buffer = io.BytesIO()
        self.fetch(layer, buffer)
        if layer.media_type.startswith(_BUNDLES):
            return BundleSignature(buffer.getvalue())
        if not layer.annotation(_SIGNATURE):
            raise NotVerifiedError(f"layer {layer.digest} has no annotation with a signature")
        return SimpleSignature(
            buffer.getvalue(),
            from_base64(layer.annotation(_SIGNATURE), what="signature"),
            layer.annotation(_CERTIFICATE),
            layer.annotation(_LOG_ENTRY),
        )


def from_base64(text: str, *, what: str) -> bytes:
    """Decode base64 (RFC 4648, 4); raises NotVerifiedError for anything else."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise NotVerifiedError(f"the {what} is not base64") from error
