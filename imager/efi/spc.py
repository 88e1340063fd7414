"""Authenticode's ASN.1 types: SpcIndirectDataContent, which identifies the signed image.

Microsoft's "Windows Authenticode Portable Executable Signature Format", version 1.0.
"""

from __future__ import annotations

from typing import ClassVar

from asn1crypto import algos, core

_PE_IMAGE_DATA = "1.3.6.1.4.1.311.2.1.15"
# The value that the specification requires in an obsolete field.
_FILE = "<<<Obsolete>>>".encode("utf-16-be")


class _SpcString(core.Choice):
    _alternatives: ClassVar = [
        ("unicode", core.OctetString, {"implicit": 0}),
        ("ascii", core.IA5String, {"implicit": 1}),
    ]


class _SpcLink(core.Choice):
    _alternatives: ClassVar = [
        ("url", core.IA5String, {"implicit": 0}),
        ("moniker", core.Sequence, {"implicit": 1}),
        ("file", _SpcString, {"explicit": 2}),
    ]


class _SpcPeImageData(core.Sequence):
    _fields: ClassVar = [
        ("flags", core.BitString),
        ("file", _SpcLink, {"explicit": 0}),
    ]


class _SpcAttribute(core.Sequence):
    _fields: ClassVar = [
        ("type", core.ObjectIdentifier),
        ("value", core.Any, {"optional": True}),
    ]


class _SpcIndirectData(core.Sequence):
    _fields: ClassVar = [
        ("data", _SpcAttribute),
        ("message_digest", algos.DigestInfo),
    ]


def indirect_data(digest: bytes) -> bytes:
    """Return the DER of the signed content for an image with the SHA-256 `digest`."""
    image = _SpcPeImageData(
        {
            "flags": core.BitString(()),
            "file": _SpcLink("file", _SpcString("unicode", core.OctetString(_FILE))),
        }
    )
    algorithm = {"algorithm": "sha256", "parameters": core.Null()}
    value = _SpcIndirectData(
        {
            "data": {"type": _PE_IMAGE_DATA, "value": core.Any(image)},
            "message_digest": {"digest_algorithm": algorithm, "digest": digest},
        }
    )
    return bytes(value.dump())


def claimed_digest(content: bytes) -> tuple[str, bytes]:
    """Return the hash name and the image digest in the signed DER `content`.

    Raises asn1crypto's exceptions for damaged bytes, ValueError for content that is not for an
    image.
    """
    value = _SpcIndirectData.load(content, strict=True)
    if value["data"]["type"].dotted != _PE_IMAGE_DATA:
        raise ValueError("not of an image")
    info = value["message_digest"]
    return str(info["digest_algorithm"]["algorithm"].native), bytes(info["digest"].native)
