"""The statements that signatures are made over, and the contents of Sigstore bundles.

Payload of cosign 2: Simple Signing (containers/image, docs/containers-signature.5.md). Statement of
cosign 3: in-toto (https://github.com/in-toto/attestation) in a DSSE envelope
(https://github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

from dataclasses import dataclass

from imager.oci.cosign.evidence import NotVerifiedError, from_base64
from imager.oci.digest import Digest
from imager.oci.documents import Fields, load_fields

IN_TOTO = "application/vnd.in-toto+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_CERTIFICATES = frozenset({"certificate", "x509CertificateChain"})
_MOST_SUBJECTS = 1024  # as in sigstore-go
# Both spellings of version 0.3; Talos and cosign do not accept older bundles beside an image.
_BUNDLE_TYPES = frozenset(
    {
        BUNDLE_TYPE,
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
    }
)


def check_payload(payload: bytes, signed: Digest) -> None:
    """Check that the signed `payload` of cosign 2 names the image `signed`.

    The repository in it is not compared, as by cosign: images are copied with their signatures.
    Raises InputError.
    """
    fields = load_fields(payload, where="the signed payload")
    image = _child(_child(fields, "critical"), "image")
    _require_named(image.text("docker-manifest-digest"), signed)


def check_statement(statement: bytes, signed: Digest) -> None:
    """Check that the image `signed` is a subject of an in-toto `statement`; raises InputError."""
    subjects = load_fields(statement, where="the signed statement").children("subject")
    if len(subjects) > _MOST_SUBJECTS:
        raise NotVerifiedError(f"the signed statement has more than {_MOST_SUBJECTS} subjects")
    named = [_child(subject, "digest").text("sha256") for subject in subjects]
    if signed.hex not in named:
        _require_named(f"sha256:{named[0]}" if named else "", signed)


def _require_named(named: str, signed: Digest) -> None:
    if named != str(signed):
        raise NotVerifiedError(f"it is for another image: {named[:80]!r}")


@dataclass(frozen=True, slots=True)
class BundleContent:
    """The parts of a Sigstore bundle that do not depend on certificates and logs.

    `has_key` is whether it was signed with a key, without a certificate. `signature` is over
    `statement`, an in-toto statement in an envelope, or over `message_digest`, the digest of the
    image's manifest, if `statement` is None.
    """

    has_key: bool
    signature: bytes
    statement: bytes | None
    message_digest: bytes = b""

    @classmethod
    def parse(cls, raw: bytes) -> BundleContent:
        """Parse a bundle of version 0.3; raises InputError."""
        fields = load_fields(raw, where="the bundle")
        media_type = fields.text("mediaType")
        if media_type not in _BUNDLE_TYPES:
            raise NotVerifiedError(f"bundles of type {media_type[:80]!r} are not supported")
        material = _child(fields, "verificationMaterial").values.keys()
        has_key = "publicKey" in material and not material & _CERTIFICATES
        envelope, message = fields.child("dsseEnvelope"), fields.child("messageSignature")
        if envelope is not None and message is None:
            return cls(has_key, _only_signature(envelope), _statement(envelope))
        if envelope is None and message is not None:
            digest = _bytes(_child(message, "messageDigest"), "digest")
            return cls(has_key, _bytes(message, "signature"), None, digest)
        raise NotVerifiedError("the bundle must have either an envelope or a signed message")

    @staticmethod
    def signed_bytes(statement: bytes) -> bytes:
        """Return the bytes that are signed for a `statement`: the pre-authentication encoding."""
        return b"DSSEv1 %d %b %d %b" % (len(IN_TOTO), IN_TOTO.encode(), len(statement), statement)

    def check_subject(self, signed: Digest) -> None:
        """Check that the bundle is for the image `signed`; raises InputError."""
        if self.statement is None:
            _require_named(f"sha256:{self.message_digest.hex()}", signed)
        else:
            check_statement(self.statement, signed)


def _statement(envelope: Fields) -> bytes:
    payload_type = envelope.text("payloadType")
    if payload_type != IN_TOTO:
        raise NotVerifiedError(f"its payload is {payload_type[:80]!r}, not an in-toto statement")
    return _bytes(envelope, "payload")


def _only_signature(envelope: Fields) -> bytes:
    signatures = envelope.children("signatures")
    if len(signatures) != 1:
        raise NotVerifiedError(f"the envelope has {len(signatures)} signatures, not one")
    return _bytes(signatures[0], "sig")


def _child(fields: Fields, key: str) -> Fields:
    child = fields.child(key)
    if child is None:
        raise NotVerifiedError(f"{fields.where}: {key} is missing")
    return child


def _bytes(fields: Fields, key: str) -> bytes:
    return from_base64(fields.text(key), what=key)
