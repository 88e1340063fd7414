"""Keys for signatures beside a file: RSA and ECDSA P-256, in files or tokens.

Signatures are deterministic (RFC 8017, 8.2; RFC 6979), so the same file and key give the same
signature. A token has an RSA key: see `imager.efi.pkcs11_signer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imager.efi.errors import SignerFailedError
from imager.efi.pkcs11_signer import SCHEME, pkcs11_key
from imager.efi.signer import SMALLEST_KEY, load_private_key
from imager.support.errors import UnsupportedError
from imager.support.signatures import verifies

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    PublicKey = RSAPublicKey | EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class DetachedKey:
    """A key that signs SHA-256 digests, named `name` in messages."""

    name: str
    public_key: PublicKey
    sign_digest: Callable[[bytes], bytes] = field(repr=False)

    @property
    def public_der(self) -> bytes:
        """The public key as SubjectPublicKeyInfo in DER."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, digest: bytes) -> bytes:
        """Return the signature of a SHA-256 digest.

        Raises SignerFailedError if the signer fails or returns a signature that is not valid.
        """
        signature = self.sign_digest(digest)
        if not verifies(self.public_key, signature, digest):
            raise SignerFailedError(
                f"{self.name} returned a signature that its own public key does not verify",
                hint="check that it signs with the key that it names",
            )
        return signature


def open_detached_key(text: str) -> tuple[DetachedKey, tuple[str, ...]]:
    """Return the key in a PEM file or at a PKCS #11 URI, and warnings about it.

    Raises InputError if there is no such key, UnsupportedError for another kind of key, and
    SignerFailedError if the token fails.
    """
    if text.startswith(SCHEME):
        token = pkcs11_key(text)
        return DetachedKey(token.name, token.public_key, token.sign_digest), ()
    private, warnings = load_private_key(Path(text))
    return _file_key(text, private), warnings


def _file_key(name: str, private: PrivateKeyTypes) -> DetachedKey:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        ECDSA,
        SECP256R1,
        EllipticCurvePrivateKey,
    )
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import SHA256

    hashed = Prehashed(SHA256())
    if isinstance(private, RSAPrivateKey) and private.key_size >= SMALLEST_KEY:
        rsa = private
        return DetachedKey(
            name, rsa.public_key(), lambda digest: rsa.sign(digest, PKCS1v15(), hashed)
        )
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        curve, algorithm = private, ECDSA(hashed, deterministic_signing=True)
        return DetachedKey(name, curve.public_key(), lambda digest: curve.sign(digest, algorithm))
    raise UnsupportedError(
        f"{name}: not an ECDSA P-256 key, and not an RSA key of {SMALLEST_KEY} bits or more",
        hint="make one: openssl ecparam -genkey -noout -name prime256v1 -out key.pem",
    )
