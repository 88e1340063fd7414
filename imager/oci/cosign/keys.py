"""Public keys of signers, and signatures of cosign that are verified with them.

As in Talos, a signature made with a key needs no entry in a transparency log: it proves that the
owner of the key signed, not when.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from imager.oci.cosign.claims import BundleContent, check_payload
from imager.oci.cosign.evidence import BundleSignature, NotVerifiedError, Signature
from imager.oci.digest import Digest
from imager.support.errors import InputError
from imager.support.signatures import verifies

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_WRONG_KEY = "it was not made with the given key, or not for these bytes"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The public key of a signer: RSA, ECDSA or Ed25519."""

    key: RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

    @classmethod
    def parse(cls, pem: str) -> SigningKey:
        """Parse a public key in PEM; raises InputError for anything else."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            wrong = "a certificate" if "BEGIN CERTIFICATE" in pem else "not a public key in PEM"
            raise InputError(f"is {wrong}: Talos requires -----BEGIN PUBLIC KEY-----") from error
        if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
            raise InputError("is a key of another kind than RSA, ECDSA and Ed25519")
        return cls(key)

    def verify(self, signature: Signature, signed: Digest) -> None:
        """Check that `signature` proves that the key's owner signed the image `signed`.

        Raises NotVerifiedError with the reason.
        """
        if isinstance(signature, BundleSignature):
            self._verify_bundle(BundleContent.parse(signature.raw), signed)
        else:
            self._check(signature.signature, signature.payload)
            _check_validity(signature.certificate)
            check_payload(signature.payload, signed)

    def _verify_bundle(self, bundle: BundleContent, signed: Digest) -> None:
        if not bundle.has_key:
            raise NotVerifiedError("it was made with a certificate, and the policy names a key")
        bundle.check_subject(signed)
        if bundle.statement is None:
            self._check_digest(bundle.signature, signed)
        else:
            self._check(bundle.signature, bundle.signed_bytes(bundle.statement))

    def _check(self, signature: bytes, data: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if isinstance(self.key, Ed25519PublicKey):
            from cryptography.exceptions import InvalidSignature

            try:
                self.key.verify(signature, data)
            except InvalidSignature as error:
                raise NotVerifiedError(_WRONG_KEY) from error
        else:
            self._check_digest(signature, Digest.of(data))

    def _check_digest(self, signature: bytes, digest: Digest) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if isinstance(self.key, Ed25519PublicKey):
            raise NotVerifiedError("a message signed with Ed25519 cannot be verified by digest")
        if not verifies(self.key, signature, bytes.fromhex(digest.hex)):
            raise NotVerifiedError(_WRONG_KEY)


def _check_validity(certificate: str) -> None:
    """Check that a certificate beside a signature by a key, if there is one, is valid now.

    cosign and Talos require it, although they do not use the certificate.
    """
    from cryptography.x509 import load_pem_x509_certificate

    if not certificate:
        return
    try:
        found = load_pem_x509_certificate(certificate.encode())
    except ValueError as error:
        raise NotVerifiedError("the certificate beside it is not valid PEM") from error
    if not found.not_valid_before_utc <= datetime.now(UTC) <= found.not_valid_after_utc:
        raise NotVerifiedError("the certificate beside it has expired")
