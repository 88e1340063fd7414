"""PKCS #7 SignedData with one signer: write it in the form UEFI firmware expects, and read it.

RFC 2315; its successor CMS (RFC 5652) wraps the content differently. Here the content is embedded
as a plain ASN.1 value (Authenticode), or detached (UEFI variables).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asn1crypto import cms, core, parser

from imager.efi.certificates import der, parse_certificate
from imager.efi.signer import HASHES, Signer
from imager.efi.trust import certificate_problem
from imager.support.screen import printable
from imager.support.signatures import verifies

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# The exceptions that asn1crypto raises for unexpected bytes.
ASN1_ERRORS = (ValueError, TypeError, LookupError, OverflowError, AttributeError, RecursionError)
DATA = "1.2.840.113549.1.7.1"
_SET = b"\x31"
_CERTIFICATES_LIMIT = 16


class Pkcs7Error(Exception):
    """A problem of a signature, worded to follow "the signature"."""


def sign_attached(content_type: str, content: bytes, signer: Signer) -> bytes:
    """Return a ContentInfo with SignedData over `content`, the DER of a value of `content_type`.

    The signed attributes are the content's type and digest, without a time, so that the same
    content gives the same bytes.
    """
    attributes = cms.CMSAttributes(
        [
            {"type": "content_type", "values": [content_type]},
            {"type": "message_digest", "values": [hashlib.sha256(_inner(content)).digest()]},
        ]
    )
    wrapped = {"content_type": content_type, "content": core.load(content).retag({"explicit": 0})}
    # The signature covers the set with its own tag (RFC 2315, 9.3).
    signature = signer.sign(attributes.dump())
    signed = _signed_data(wrapped, signature, signer, attributes)
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump())


def sign_detached(data: bytes, signer: Signer) -> bytes:
    """Return SignedData over `data`, detached and without an enclosing ContentInfo."""
    return bytes(_signed_data({"content_type": DATA}, signer.sign(data), signer, None).dump())


def _signed_data(
    content: dict[str, Any], signature: bytes, signer: Signer, attributes: Any
) -> cms.SignedData:
    certificate = cms.Certificate.load(der(signer.certificate))
    sha256 = {"algorithm": "sha256", "parameters": core.Null()}
    info = {
        "version": "v1",
        "sid": cms.SignerIdentifier(
            "issuer_and_serial_number",
            {"issuer": certificate.issuer, "serial_number": certificate.serial_number},
        ),
        "digest_algorithm": sha256,
        "signed_attrs": attributes,
        "signature_algorithm": {"algorithm": "rsassa_pkcs1v15", "parameters": core.Null()},
        "signature": signature,
    }
    return cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [sha256],
            "encap_content_info": content,
            "certificates": [cms.CertificateChoices("certificate", certificate)],
            "signer_infos": [info],
        }
    )


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """Parsed SignedData; `certificate` is the signer's, one of `certificates`.

    `content` is the DER of the signed content, None if detached. `hash_name` is one of `HASHES`.
    """

    certificate: Certificate
    certificates: tuple[Certificate, ...]
    hash_name: str
    content_type: str
    content: bytes | None
    attributes: Any
    signature: bytes

    def verify(self, data: bytes) -> None:
        """Verify the signature over `data`, the content's bytes; raises Pkcs7Error."""
        signed = data
        if self.attributes is not None:
            digest = hashlib.new(self.hash_name, data).digest()
            try:
                _check_attributes(self.attributes, self.content_type, digest)
                # The signature covers the set with its own tag (RFC 2315, 9.3).
                signed = _SET + self.attributes.dump()[1:]
            except ASN1_ERRORS as error:
                raise Pkcs7Error("has damaged attributes") from error
        _verify(self.certificate, self.signature, signed, self.hash_name)

    def verify_attached(self) -> bytes:
        """Verify the signature over the embedded content; return that (DER); raises Pkcs7Error."""
        if self.content is None:
            raise Pkcs7Error("has no content")
        try:
            inner = _inner(self.content)
        except ASN1_ERRORS as error:
            raise Pkcs7Error("has damaged content") from error
        self.verify(inner)
        return self.content


def read_attached(data: bytes) -> SignedMessage:
    """Return the SignedData of the ContentInfo `data`, which may have trailing zeros.

    Raises Pkcs7Error if it cannot be verified.
    """
    try:
        size = parser.peek(data)
        signed = data[:size]
        info = cms.ContentInfo.load(signed, strict=True)
        if any(data[size:]):
            raise Pkcs7Error("is followed by bytes that are not signed")
        return _read(_content_of(info))
    except ASN1_ERRORS as error:
        raise Pkcs7Error("is not a PKCS #7 structure") from error


def read_detached(data: bytes) -> SignedMessage:
    """Return the SignedData `data`, with or without an enclosing ContentInfo; raises Pkcs7Error.

    UEFI 2.10, 8.2.2, requires it without one; some tools write one.
    """
    try:
        value = core.load(data, strict=True)
        wrapped = isinstance(value[0], core.ObjectIdentifier)
        signed = _content_of(cms.ContentInfo.load(data)) if wrapped else cms.SignedData.load(data)
        return _read(signed)
    except ASN1_ERRORS as error:
        raise Pkcs7Error("is not a PKCS #7 structure") from error


def _content_of(info: Any) -> Any:
    if info["content_type"].native != "signed_data":
        raise Pkcs7Error("is PKCS #7, but not signed data")
    return info["content"]


def _read(signed: Any) -> SignedMessage:
    if signed["version"].native != "v1":
        raise Pkcs7Error("is not PKCS #7 version 1")
    if len(signed["signer_infos"]) != 1:
        raise Pkcs7Error("does not have exactly one signer")
    info = signed["signer_infos"][0]
    certificates = tuple(_certificates(signed["certificates"]))
    hash_name = _hash_name(info["digest_algorithm"])
    if [_hash_name(each) for each in signed["digest_algorithms"]] != [hash_name]:
        raise Pkcs7Error("uses several hash algorithms")
    if info["version"].native != "v1" or info["sid"].name != "issuer_and_serial_number":
        raise Pkcs7Error("does not identify its signer by issuer and serial number")
    if info["signature_algorithm"]["algorithm"].native not in (
        "rsassa_pkcs1v15",
        f"{hash_name}_rsa",
    ):
        raise Pkcs7Error("is not RSA with PKCS #1 v1.5, as signatures for UEFI are")
    _check_parameters(info["signature_algorithm"])
    content = signed["encap_content_info"]
    value, attributes = content["content"], info["signed_attrs"]
    return SignedMessage(
        _signer_of(info["sid"].chosen, certificates),
        tuple(certificate for certificate, _ in certificates),
        hash_name,
        content["content_type"].dotted,
        None if isinstance(value, core.Void) else _inner(value.dump()),
        None if isinstance(attributes, core.Void) else attributes,
        info["signature"].native,
    )


def _hash_name(algorithm: Any) -> str:
    name = algorithm["algorithm"].native
    if name not in HASHES:
        raise Pkcs7Error(f"uses {printable(name)}, and UEFI firmware accepts {', '.join(HASHES)}")
    _check_parameters(algorithm)
    return str(name)


def _check_parameters(algorithm: Any) -> None:
    if algorithm["parameters"].native is not None:
        raise Pkcs7Error("has parameters for an algorithm that has none")


def _certificates(choices: Any) -> Iterator[tuple[Certificate, bytes]]:
    """Yield the X.509 certificates, each with the DER of its issuer name and serial number."""
    if len(choices) > _CERTIFICATES_LIMIT:
        raise Pkcs7Error("has too many certificates")
    for choice in choices:
        if choice.name == "certificate":
            found = parse_certificate(choice.chosen.dump())
            yield found, _identity(choice.chosen.issuer, choice.chosen["tbs_certificate"])


def _identity(name: Any, holder: Any) -> bytes:
    return bytes(name.dump() + holder["serial_number"].dump())


def _signer_of(sid: Any, certificates: Sequence[tuple[Certificate, bytes]]) -> Certificate:
    identity = _identity(sid["issuer"], sid)
    for certificate, own in certificates:
        if own == identity:
            return certificate
    raise Pkcs7Error("does not contain its signer's certificate")


def _check_attributes(attributes: Any, content_type: str, digest: bytes) -> None:
    for name, expected in (("content_type", content_type), ("message_digest", digest)):
        values = [each["values"] for each in attributes if each["type"].native == name]
        if len(values) != 1 or len(values[0]) != 1:
            raise Pkcs7Error(f"does not have exactly one attribute {name}")
        value = values[0][0]
        if (value.dotted if name == "content_type" else value.native) != expected:
            raise Pkcs7Error("is for other content")


def _inner(content: bytes) -> bytes:
    """Return a DER value without tag and length, which are not hashed (RFC 2315, 9.3)."""
    return bytes(parser.parse(content, strict=True)[4])


def _verify(certificate: Certificate, signature: bytes, data: bytes, hash_name: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    key, problem = certificate.public_key(), certificate_problem(certificate)
    if problem or not isinstance(key, RSAPublicKey):
        raise Pkcs7Error(f"is not accepted: {problem}")
    if not verifies(key, signature, hashlib.new(hash_name, data).digest(), hash_name):
        raise Pkcs7Error("does not verify: it is for other content, or damaged")
