"""Create X.509 certificates (RFC 5280): authorities, and certificates that they issue.

Serial numbers and keys are random, so the results are not reproducible.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate, CertificateBuilder

    PrivateKey: TypeAlias = RSAPrivateKey | EllipticCurvePrivateKey

LONGEST_NAME = 64  # characters of a common name (RFC 5280, appendix A.1)
_EXPONENT = 65537


@dataclass(frozen=True, slots=True)
class Validity:
    """The validity period of a certificate: start and end in UTC, whole seconds."""

    start: datetime.datetime
    end: datetime.datetime

    @classmethod
    def lasting(cls, length: datetime.timedelta, *, start: datetime.datetime) -> Validity:
        """Return the period of `length` starting at `start`."""
        first = start.replace(microsecond=0)
        return cls(first, first + length)


@dataclass(frozen=True, slots=True)
class Issuer:
    """A certificate authority: its certificate and its private key, which repr() omits."""

    certificate: Certificate
    key: PrivateKey = field(repr=False)

    @classmethod
    def new(cls, name: str, key: PrivateKey, validity: Validity) -> Issuer:
        """Return a new self-signed authority for `key` that cannot issue other authorities."""
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256

        basic = x509.BasicConstraints(ca=True, path_length=0)
        builder = _builder(name, key, validity, basic).issuer_name(_name(name))
        return cls(builder.sign(key, SHA256()), key)

    def issue(
        self,
        name: str,
        key: PrivateKey,
        validity: Validity,
        *,
        purpose: x509.ObjectIdentifier,
        alternatives: Sequence[x509.GeneralName] = (),
    ) -> Certificate:
        """Return a certificate for `key` with one `purpose` (RFC 5280, 4.2.1.12).

        `alternatives` are additional names of the subject (subjectAltName).
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256

        basic = x509.BasicConstraints(ca=False, path_length=None)
        builder = _builder(name, key, validity, basic).issuer_name(self.certificate.subject)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(self._identifier(), critical=False)
        if alternatives:
            names = x509.SubjectAlternativeName(alternatives)
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, SHA256())

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        from cryptography import x509

        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def new_rsa_key(bits: int) -> RSAPrivateKey:
    """Return a new RSA key of `bits`."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=_EXPONENT, key_size=bits)


def new_ec_key() -> EllipticCurvePrivateKey:
    """Return a new key on the curve P-256 (FIPS 186-5), which every TLS library supports."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def private_pem(
    key: PrivateKey, passphrase: bytes | None = None, *, traditional: bool = False
) -> bytes:
    """Return a private key in PEM, encrypted if there is a `passphrase`.

    The form is PKCS #8, or if `traditional` PKCS #1 for RSA (RFC 8017, A.1.2), and SEC 1.
    """
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    form = PrivateFormat.TraditionalOpenSSL if traditional else PrivateFormat.PKCS8
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, encryption)


def _builder(
    name: str, key: PrivateKey, validity: Validity, basic: x509.BasicConstraints
) -> CertificateBuilder:
    """Return a certificate without an issuer, for the key usage that fits `basic`."""
    from cryptography import x509

    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.start)
        .not_valid_after(validity.end)
        .add_extension(identifier, critical=False)
        .add_extension(basic, critical=True)
        .add_extension(_usage(authority=basic.ca), critical=True)
    )


def _name(common_name: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
