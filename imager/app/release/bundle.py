"""Signatures as sigstore bundles, as cosign makes them with a key, without a transparency log.

https://github.com/sigstore/protobuf-specs, protos/sigstore_bundle.proto, version 0.3; the envelope
of a statement is DSSE: https://github.com/secure-systems-lab/dsse, protocol.md.
"""

from __future__ import annotations

import base64
import hashlib

from imager.efi.detached import DetachedKey
from imager.oci.cosign.claims import BUNDLE_TYPE, IN_TOTO
from imager.oci.digest import Digest
from imager.oci.documents import dump_json


def message_bundle(digest: Digest, key: DetachedKey) -> bytes:
    """Return the bundle that signs a file with `digest`; raises as `DetachedKey.sign`."""
    raw = bytes.fromhex(digest.hex)
    signature = {
        "messageDigest": {"algorithm": "SHA2_256", "digest": _base64(raw)},
        "signature": _base64(key.sign(raw)),
    }
    return _bundle(key, "messageSignature", signature)


def statement_bundle(statement: bytes, key: DetachedKey) -> bytes:
    """Return the bundle of an in-toto statement, which is in it; raises as `message_bundle`."""
    kind = IN_TOTO.encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(statement), statement)
    envelope = {
        "payload": _base64(statement),
        "payloadType": IN_TOTO,
        "signatures": [{"sig": _base64(key.sign(hashlib.sha256(signed).digest()))}],
    }
    return _bundle(key, "dsseEnvelope", envelope)


def _bundle(key: DetachedKey, kind: str, signed: object) -> bytes:
    hint = _base64(hashlib.sha256(key.public_der).digest())
    material = {"publicKey": {"hint": hint}}
    value = {"mediaType": BUNDLE_TYPE, "verificationMaterial": material, kind: signed}
    return dump_json(value) + b"\n"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
