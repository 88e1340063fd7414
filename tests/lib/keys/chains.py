"""Certificates with anything that X.509 allows, for tests of what is trusted."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

PSS = padding.PSS(padding.MGF1(SHA256()), 32)
_START = datetime.datetime(2024, 1, 1)
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(frozen=True, slots=True)
class Owner:
    """A private key and its certificate."""

    key: RSAPrivateKey | EllipticCurvePrivateKey
    certificate: Certificate

    def file(self, folder: Path) -> Path:
        """Write the certificate in PEM."""
        path = folder / f"{self.certificate.serial_number}.pem"
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path


def new_key() -> RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def basic(*, ca: bool = True, path_length: int | None = None) -> x509.BasicConstraints:
    return x509.BasicConstraints(ca, path_length)


def usage(name: str) -> x509.KeyUsage:
    """Return a key usage of one kind."""
    return x509.KeyUsage(**{each: each == name for each in _USAGES})


def owner(
    name: str,
    key: RSAPrivateKey | EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
    by: Owner | None = None,
    days: int = 3650,
    rsa_padding: padding.PSS | None = None,
) -> Owner:
    """Return a new certificate of `key`, issued `by` another owner or self-signed.

    All extensions are critical but extended key usages. It is valid for `days` from 2024 on.
    """
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_START)
        .not_valid_after(_START + datetime.timedelta(days=days))
    )
    for each in extensions:
        builder = builder.add_extension(each, not isinstance(each, x509.ExtendedKeyUsage))
    signing = by.key if by else key
    return Owner(key, builder.sign(signing, SHA256(), rsa_padding=rsa_padding))


def with_certificates(signature: bytes, others: Sequence[Owner]) -> bytes:
    """Return the PKCS #7 structure with the certificates of `others` in it as well."""
    info = cms.ContentInfo.load(signature)
    for each in others:
        der = each.certificate.public_bytes(Encoding.DER)
        choice = cms.CertificateChoices("certificate", cms.Certificate.load(der))
        info["content"]["certificates"].append(choice)
    return bytes(info.dump(force=True))
