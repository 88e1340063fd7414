"""Keys that never leave a token or a service: only digests are sent to them.

A signature of RSA PKCS #1 v1.5 (RFC 8017, 8.2) has no random part, so an output is the same as
with the same key in a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imager.efi.certificates import certificates_in, subject
from imager.efi.errors import InvalidKeyError, SignerFailedError
from imager.efi.signer import SMALLEST_KEY
from imager.efi.trust import LARGEST_KEY, certificate_problem
from imager.support.errors import UnsupportedError
from imager.support.signatures import verifies

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import Certificate

# Returns the signature of a SHA-256 digest.
SignDigest = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class RemoteKey:
    """A key elsewhere, named `name` in messages."""

    name: str
    public_key: RSAPublicKey
    sign_digest: SignDigest = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the raw RSA PKCS #1 v1.5 signature of `data` with SHA-256.

        Raises SignerFailedError if the signer fails or returns a signature that is not valid.
        """
        digest = hashlib.sha256(data).digest()
        signature = self.sign_digest(digest)
        if not verifies(self.public_key, signature, digest):
            raise SignerFailedError(
                f"{self.name} returned a signature that its own public key does not verify",
                hint="check that it signs with RSA PKCS #1 v1.5, and with the key that it names",
            )
        return signature


@dataclass(frozen=True, slots=True)
class RemoteSigner(RemoteKey):
    """A key elsewhere, and its certificate."""

    certificate: Certificate


def remote_key(name: str, public_key: bytes, sign: SignDigest) -> RemoteKey:
    """Return the key `name` with the SubjectPublicKeyInfo `public_key`, in PEM or DER.

    Raises InvalidKeyError if it is damaged, UnsupportedError for a key that UEFI and TPMs cannot
    verify.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    is_pem = public_key.lstrip().startswith(b"-----BEGIN ")
    load = serialization.load_pem_public_key if is_pem else serialization.load_der_public_key
    try:
        key = load(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKeyError(f"{name}: returned no public key") from error
    if not isinstance(key, RSAPublicKey) or not SMALLEST_KEY <= key.key_size <= LARGEST_KEY:
        raise UnsupportedError(
            f"{name}: not an RSA key of {SMALLEST_KEY} to {LARGEST_KEY} bits",
            hint="make such a key there; firmware and TPMs verify no other",
        )
    return RemoteKey(name, key, sign)


def remote_signer(name: str, certificate: bytes, sign: SignDigest) -> RemoteSigner:
    """Return the signer `name` with `certificate`, in PEM or DER; raises as `remote_key`."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    found = certificates_in(certificate, source=name)[0]
    if problem := certificate_problem(found):
        raise UnsupportedError(f"{name}: {problem}")
    der = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return RemoteSigner(name, remote_key(name, der, sign).public_key, sign, found)


def same_key(signer: RemoteSigner, key: RemoteKey) -> RemoteSigner:
    """Return `signer`; raises InvalidKeyError unless its certificate is that of `key`."""
    if key.public_key != signer.public_key:
        raise InvalidKeyError(
            f"{signer.name}: the certificate ({subject(signer.certificate)}) does not belong to it",
            hint="give the certificate that was made for this key",
        )
    return signer


def rsa_public_key(modulus: bytes, exponent: bytes) -> bytes:
    """Return a public key of big-endian numbers as SubjectPublicKeyInfo in DER."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    numbers = RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus))
    return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
