"""An instance of Sigstore of its own: a Fulcio-like CA, a log of certificates, a Rekor-like log.

Keys are derived from their names and signatures are deterministic (RFC 6979), so the same calls
give the same bytes in every run. Formats: https://github.com/sigstore/protobuf-specs for bundles
and trusted roots, RFC 6962 for SCTs and Merkle trees, and for entries
https://github.com/sigstore/rekor.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from asn1crypto.x509 import Certificate
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lib.caches.caches import dump, sha256

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
IN_TOTO = "application/vnd.in-toto+json"
_FULCIO = "1.3.6.1.4.1.57264.1"
_SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ORIGIN = "rekor.example"


def key_named(name: str) -> EllipticCurvePrivateKey:
    """Return the P-256 key that belongs to `name`."""
    return derive_private_key(int(sha256(name.encode()), 16) >> 8, SECP256R1())


def sign(key: EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return the ECDSA signature of `data` with SHA-256."""
    return key.sign(data, ECDSA(SHA256(), deterministic_signing=True))


def public_der(key: EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_pem(key: EllipticCurvePrivateKey) -> str:
    data = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data.decode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True)
class Signer:
    """A key and its certificate."""

    key: EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return pem(self.certificate)


@dataclass(frozen=True)
class Instance:
    """The keys of an instance, all derived from `name`."""

    name: str = "fulcio.example"
    ca_key: EllipticCurvePrivateKey = field(init=False)
    ca: x509.Certificate = field(init=False)
    ct_key: EllipticCurvePrivateKey = field(init=False)
    log_key: EllipticCurvePrivateKey = field(init=False)

    def __post_init__(self) -> None:
        for part in ("ca", "ct", "log"):
            object.__setattr__(self, f"{part}_key", key_named(f"{self.name} {part}"))
        object.__setattr__(self, "ca", _authority(self.name, self.ca_key))

    def issue(
        self,
        subject: str,
        *,
        issuer: str = "https://issuer.example",
        at: datetime = NOW,
        with_sct: bool = True,
    ) -> Signer:
        """Issue a certificate of ten minutes from `at` for an e-mail address or a URI."""
        key = key_named(f"{self.name} leaf {subject} {issuer} {at}")
        builder = _leaf(subject, issuer, key, at, self)
        certificate = _signed(builder, self.ca_key)
        if with_sct:
            scts = x509.UnrecognizedExtension(_SCTS, self._scts(certificate, at))
            certificate = _signed(builder.add_extension(scts, critical=False), self.ca_key)
        return Signer(key, certificate)

    def _scts(self, precertificate: x509.Certificate, at: datetime) -> bytes:
        """Return the list of one SCT for a certificate without one (RFC 6962, 3.2 and 3.3)."""
        tbs = precertificate.tbs_certificate_bytes
        entry = hashlib.sha256(public_der(self.ca_key)).digest() + struct.pack(">I", len(tbs))[1:]
        stamp = struct.pack(">Q", int(at.timestamp()) * 1000)
        signature = sign(self.ct_key, b"\0\0" + stamp + b"\0\1" + entry + tbs + b"\0\0")
        log = hashlib.sha256(public_der(self.ct_key)).digest()
        sct = b"\0" + log + stamp + b"\0\0" + b"\4\3" + struct.pack(">H", len(signature))
        sct += signature
        scts = struct.pack(">HH", len(sct) + 2, len(sct)) + sct
        return bytes([0x04, len(scts)]) + scts

    @property
    def log_id(self) -> bytes:
        return hashlib.sha256(public_der(self.log_key)).digest()

    def trusted_root(self) -> bytes:
        """Return the instance's trusted_root.json."""
        start = {"start": "2021-01-01T00:00:00Z"}
        return dump(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [_log(self.log_key, f"https://{_ORIGIN}", start)],
                "certificateAuthorities": [
                    {
                        "subject": {"organization": self.name, "commonName": self.name},
                        "uri": f"https://{self.name}",
                        "certChain": {
                            "certificates": [{"rawBytes": b64(self.ca.public_bytes(Encoding.DER))}]
                        },
                        "validFor": start,
                    }
                ],
                "ctlogs": [_log(self.ct_key, "https://ct.example", start)],
                "timestampAuthorities": [],
            }
        )

    def promise(self, body: bytes, at: datetime, index: int = 7) -> dict[str, Any]:
        """Return the log's promise to include an entry: cosign 2's annotation with its SET."""
        payload = {
            "body": b64(body),
            "integratedTime": int(at.timestamp()),
            "logIndex": index,
            "logID": self.log_id.hex(),
        }
        canonical = json.dumps(payload, separators=(",", ":"), sort_keys=True).encode()
        return {"SignedEntryTimestamp": b64(sign(self.log_key, canonical)), "Payload": payload}

    def log_entry(self, body: bytes, at: datetime) -> dict[str, Any]:
        """Return the entry of a bundle: the second of two in the log, with promise and proof."""
        promise = self.promise(body, at, index=1)
        leaf, sibling = (hashlib.sha256(b"\0" + each).digest() for each in (body, b"another"))
        root = hashlib.sha256(b"\1" + sibling + leaf).digest()
        note = f"{_ORIGIN} - 1\n2\n{b64(root)}\n"  # host and tree, as in version 1 of Rekor
        signature = b64(self.log_id[:4] + sign(self.log_key, note.encode()))
        document = json.loads(body)
        return {
            "logIndex": "1",
            "logId": {"keyId": b64(self.log_id)},
            "kindVersion": {"kind": document["kind"], "version": document["apiVersion"]},
            "integratedTime": str(int(at.timestamp())),
            "inclusionPromise": {"signedEntryTimestamp": promise["SignedEntryTimestamp"]},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": b64(root),
                "treeSize": "2",
                "hashes": [b64(sibling)],
                "checkpoint": {"envelope": f"{note}\n— {_ORIGIN} {signature}\n"},
            },
            "canonicalizedBody": b64(body),
        }


def hashedrekord(data: bytes, signature: bytes, verifier: str) -> bytes:
    """Return the body of a log entry for `data`; `verifier` is a certificate or key in PEM."""
    return _canonical(
        {
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": sha256(data)}},
                "signature": {
                    "content": b64(signature),
                    "publicKey": {"content": b64(verifier.encode())},
                },
            },
        }
    )


def dsse_entry(envelope: dict[str, Any], verifier: str) -> bytes:
    """Return the body of a log entry for a DSSE envelope."""
    payload = base64.b64decode(envelope["payload"])
    signature = envelope["signatures"][0]["sig"]
    return _canonical(
        {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": sha256(_canonical(envelope))},
                "payloadHash": {"algorithm": "sha256", "value": sha256(payload)},
                "signatures": [{"signature": signature, "verifier": b64(verifier.encode())}],
            },
        }
    )


def statement(digest: str) -> bytes:
    """Return what cosign 3 signs for the image with the digest `digest` (hexadecimal)."""
    return dump(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": digest}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        }
    )


def envelope_of(key: EllipticCurvePrivateKey, payload: bytes) -> dict[str, Any]:
    """Return `payload`, signed, in a DSSE envelope."""
    signed = b"DSSEv1 %d %b %d %b" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
    signatures = [{"sig": b64(sign(key, signed))}]
    return {"payload": b64(payload), "payloadType": IN_TOTO, "signatures": signatures}


def key_material(key: EllipticCurvePrivateKey) -> dict[str, Any]:
    """Return the verification material of a bundle that is signed with a key."""
    return {"publicKey": {"hint": b64(hashlib.sha256(public_der(key)).digest())}}


def _canonical(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _log(key: EllipticCurvePrivateKey, url: str, valid: object) -> dict[str, Any]:
    der = public_der(key)
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": b64(der),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": valid,
        },
        "logId": {"keyId": b64(hashlib.sha256(der).digest())},
    }


def _signed(builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> x509.Certificate:
    """Sign a certificate; old releases of cryptography cannot do that deterministically."""
    draft = builder.sign(key, SHA256())
    certificate = Certificate.load(draft.public_bytes(Encoding.DER))
    certificate["signature_value"] = sign(key, draft.tbs_certificate_bytes)
    return x509.load_der_x509_certificate(certificate.dump(force=True))


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(name: str, key: EllipticCurvePrivateKey) -> x509.Certificate:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2021, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2041, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .add_extension(identifier, critical=False)
    )
    return _signed(builder, key)


def _leaf(
    subject: str, issuer: str, key: EllipticCurvePrivateKey, at: datetime, instance: Instance
) -> x509.CertificateBuilder:
    name: x509.GeneralName = x509.RFC822Name(subject)
    if "://" in subject:
        name = x509.UniformResourceIdentifier(subject)
    code = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
    old, new = (x509.ObjectIdentifier(f"{_FULCIO}.{number}") for number in (1, 8))
    text = issuer.encode()
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(instance.ca_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(instance.ca.subject)
        .public_key(key.public_key())
        .serial_number(int(sha256(public_der(key))[:30], 16))
        .not_valid_before(at)
        .not_valid_after(at + timedelta(minutes=10))
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(code, critical=False)
        .add_extension(own, critical=False)
        .add_extension(authority, critical=False)
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        .add_extension(x509.UnrecognizedExtension(old, text), critical=False)
        .add_extension(
            x509.UnrecognizedExtension(new, bytes([0x0C, len(text)]) + text), critical=False
        )
    )
