"""Read X.509 certificates from untrusted files, and describe them."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from imager.efi.errors import InvalidKeyError
from imager.support.screen import printable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_LIMIT = 256 << 10
_BEGIN = b"-----BEGIN CERTIFICATE-----"


def read_limited(
    path: Path, *, what: str, limit: int = _LIMIT, hint: str = ""
) -> tuple[bytes, int]:
    """Return the contents and the st_mode of the file `path`, named `what` in messages.

    Raises InputError: with `hint` if it cannot be read, or if it has more than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise InvalidKeyError(f"cannot read the {what} {path}: {reason}", hint=hint) from error
    if len(data) > limit:
        raise InvalidKeyError(f"{path} is too large for a {what}: more than {limit} bytes")
    return data, mode


def first_certificate(path: Path) -> Certificate:
    """Return the first certificate of a PEM file, or that of a DER file; raises InputError."""
    return load_certificates(path)[0]


def load_certificates(path: Path) -> tuple[Certificate, ...]:
    """Return the certificates of `path`: one or more in PEM, or one in DER.

    Raises InputError if there is none.
    """
    data, _ = read_limited(path, what="certificate")
    return certificates_in(data, source=str(path))


def certificates_in(data: bytes, *, source: str) -> tuple[Certificate, ...]:
    """Return the certificates in `data`, like `load_certificates`; errors name `source`."""
    from cryptography import x509

    if b"PRIVATE KEY-----" in data and _BEGIN not in data:
        raise InvalidKeyError(
            f"{source}: this is a private key, not a certificate",
            hint="give the certificate here, and the key in its own option or field",
        )
    if b"-----BEGIN " in data and _BEGIN not in data:
        raise InvalidKeyError(f"{source}: this PEM file contains no certificate")
    try:
        if _BEGIN in data:
            return _sound(x509.load_pem_x509_certificates, data)
        return (parse_certificate(data),)
    except ValueError as error:
        raise InvalidKeyError(
            f"{source}: not an X.509 certificate in PEM or DER format, or a damaged one"
        ) from error


def parse_certificate(data: bytes) -> Certificate:
    """Parse the DER certificate `data`; raises ValueError if it is invalid."""
    from cryptography.x509 import load_der_x509_certificate

    return _sound(lambda data: [load_der_x509_certificate(data)], data)[0]


def _sound(load: Callable[[bytes], list[Certificate]], data: bytes) -> tuple[Certificate, ...]:
    """Return the certificates that `load` finds in `data`, fully parsed.

    The library parses fields lazily, so an invalid one could otherwise fail anywhere. Raises
    ValueError for an invalid field, also if the library only warns.
    """
    from cryptography import exceptions, x509

    broken = (
        *(exceptions.UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension),
        *(x509.UnsupportedGeneralNameType, TypeError, LookupError, Warning),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = tuple(load(data))
            for each in found:
                each.public_key()
                each.subject.rfc4514_string()
                each.issuer.rfc4514_string()
                _ = each.not_valid_before_utc, each.not_valid_after_utc, each.extensions
        except broken as error:
            raise ValueError(f"invalid certificate: {error}") from error
    return found


def pem(certificate: Certificate) -> bytes:
    """Return the certificate in PEM (RFC 7468)."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def der(certificate: Certificate) -> bytes:
    """Return the certificate in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def fingerprint(certificate: Certificate) -> str:
    """Return the SHA-256 of the certificate in DER, in hexadecimal digits."""
    return hashlib.sha256(der(certificate)).hexdigest()


def subject(certificate: Certificate) -> str:
    """Return the subject of the certificate as printable text (RFC 4514)."""
    return printable(certificate.subject.rfc4514_string()).replace("\n", " ")


def issuer(certificate: Certificate) -> str:
    """Return the issuer of the certificate as printable text (RFC 4514)."""
    return printable(certificate.issuer.rfc4514_string()).replace("\n", " ")
