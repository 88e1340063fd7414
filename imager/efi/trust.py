"""Decide what UEFI firmware trusts: keys, and certificate chains up to a trust anchor.

EDK II, the base of most firmware, verifies a PKCS #7 signature with OpenSSL against one certificate
of `db` at a time. That certificate may be the signer's own or an issuer's (a partial chain); dates
and extended key usages are ignored (CryptoPkg, CryptPkcs7VerifyCommon.c). OpenSSL uses the
algorithm in the certificate, so a PKCS #1 v1.5 signature fails for an RSA key marked for PSS. This
module accepts only what every build of EDK II accepts: RSA with PKCS #1 v1.5 and SHA-2. SHA-1, PSS
and elliptic curves are build options.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# The largest RSA key that OpenSSL verifies (OPENSSL_RSA_MAX_MODULUS_BITS).
LARGEST_KEY = 16_384
_CHAIN_LIMIT = 8
_RSA, _RSA_PSS = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"
# sha256-, sha384- and sha512WithRSAEncryption (RFC 8017, appendix A.2.4).
_SIGNED_BY_RSA = frozenset(f"1.2.840.113549.1.1.{number}" for number in (11, 12, 13))
# Critical extensions that OpenSSL supports (X509_supported_extension); it rejects any other.
_KNOWN_EXTENSIONS = frozenset(
    ("2.16.840.1.113730.1.1", *(f"2.5.29.{n}" for n in (15, 17, 19, 30, 31, 32, 33, 36, 37, 54)))
)


def certificate_problem(certificate: Certificate) -> str:
    """Return why firmware rejects signatures by the key of `certificate`; empty if it does not."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    algorithm, key = certificate.public_key_algorithm_oid.dotted_string, certificate.public_key()
    if algorithm == _RSA_PSS:
        return "the certificate is for an RSA-PSS key, and signatures for UEFI use PKCS #1 v1.5"
    if algorithm != _RSA or not isinstance(key, RSAPublicKey):
        return "the certificate is not for an RSA key, and UEFI firmware verifies RSA only"
    if key.key_size > LARGEST_KEY:
        return (
            f"the certificate is for an RSA key of {key.key_size} bits, and UEFI firmware verifies "
            f"up to {LARGEST_KEY}"
        )
    for each in certificate.extensions:
        if each.critical and each.oid.dotted_string not in _KNOWN_EXTENSIONS:
            return (
                f"the certificate has the critical extension {each.oid.dotted_string}, which UEFI "
                "firmware does not support"
            )
    return ""


def is_trusted(
    certificate: Certificate, anchors: Sequence[Certificate], *, others: Iterable[Certificate] = ()
) -> bool:
    """Return whether firmware that trusts `anchors` accepts signatures by `certificate`'s key.

    An anchor is `certificate` itself, or issued it directly or through `others`.
    """
    if certificate_problem(certificate):
        return False
    if certificate in anchors:
        return True
    # Breadth first: the shortest chain has the fewest authorities below an anchor.
    level, rest = [certificate], list(others)
    for below in range(_CHAIN_LIMIT):
        if any(_issued(anchor, each, below=below) for each in level for anchor in anchors):
            return True
        level = [each for each in rest if any(_issued(each, under, below=below) for under in level)]
        rest = [each for each in rest if each not in level]
    return False


def _issued(authority: Certificate, certificate: Certificate, *, below: int) -> bool:
    """Return whether `authority`, with `below` authorities under it, issued `certificate`."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    if certificate.signature_algorithm_oid.dotted_string not in _SIGNED_BY_RSA:
        return False
    if certificate_problem(authority) or not _is_authority(authority, below=below):
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_authority(certificate: Certificate, *, below: int) -> bool:
    """Return whether `certificate` may have `below` authorities under it (RFC 5280, 4.2.1.9).

    Rejects authorities with name constraints, because names are not compared.
    """
    from cryptography.x509 import BasicConstraints, KeyUsage, NameConstraints

    found: dict[type, Any] = {type(each.value): each.value for each in certificate.extensions}
    basic, usage = found.get(BasicConstraints), found.get(KeyUsage)
    if basic is None or not basic.ca or NameConstraints in found:
        return False
    if basic.path_length is not None and basic.path_length < below:
        return False
    return usage is None or bool(usage.key_cert_sign)
