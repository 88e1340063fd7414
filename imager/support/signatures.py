"""Verify signatures of digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey


def verifies(
    key: RSAPublicKey | EllipticCurvePublicKey,
    signature: bytes,
    digest: bytes,
    hash_name: str = "sha256",
) -> bool:
    """Return whether `signature` is that of `digest` by `key`: ECDSA, or RSA with PKCS #1 v1.5."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    try:
        hashed = Prehashed(getattr(hashes, hash_name.upper())())
        if isinstance(key, RSAPublicKey):
            key.verify(signature, digest, PKCS1v15(), hashed)
        else:
            key.verify(signature, digest, ECDSA(hashed))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
