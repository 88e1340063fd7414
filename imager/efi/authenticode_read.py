"""Read and verify the signatures of EFI binaries; see `authenticode` for the format.

Firmware starts an image if one of its signatures verifies and chains to a certificate in `db`
(`trust`). It checks neither dates nor the checksum in the headers. Restrictions specific to EDK II
follow its DxeImageVerificationLib: image and signature use the same hash algorithm, which must be
at a fixed offset of the signature.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imager.content.extents import Content
from imager.content.reading import read_content
from imager.efi.authenticode import SPC_INDIRECT_DATA, SplitImage, image_checksum, split_image
from imager.efi.trust import is_trusted
from imager.support.screen import printable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from imager.efi.pkcs7 import SignedMessage


# Digest object identifiers (RFC 5754, section 2). Firmware looks for them at byte 32, the offset
# of SignedData.digestAlgorithms if lengths are encoded in two bytes.
_PLACE = 32
_TWO_BYTES = 0x82
_DIGEST_OIDS = {
    "sha256": bytes.fromhex("608648016503040201"),
    "sha384": bytes.fromhex("608648016503040202"),
    "sha512": bytes.fromhex("608648016503040203"),
}


class Checksum(enum.Enum):
    """The state of the PE checksum in the headers."""

    RIGHT = "right"
    WRONG = "wrong"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PeSignature:
    """One signature; `problem` is why firmware rejects it, empty if it is valid.

    `certificate` is the signer's, None if damaged. `claimed` is the signed digest. `trusted` is
    whether the certificate chains to one of the given ones, None if none was given.
    `certificates` are all certificates embedded in the signature.
    """

    certificate: Certificate | None
    hash_name: str
    claimed: bytes
    trusted: bool | None
    problem: str
    certificates: tuple[Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class PeSignatures:
    """The signatures of an image, whose SHA-256 Authenticode digest is `digest`."""

    digest: bytes
    checksum: Checksum
    signatures: tuple[PeSignature, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems: no signature, damaged ones, or no chain to a given certificate."""
        if not self.signatures:
            return ("not signed",)
        damaged = tuple(each.problem for each in self.signatures if each.problem)
        if damaged or any(each.trusted is not False for each in self.signatures):
            return damaged
        return ("no signature chains to one of the given certificates",)


def read_signatures(
    content: Content, *, trusted: Sequence[Certificate] = (), name: str = "the EFI binary"
) -> PeSignatures:
    """Return the signatures of the PE32+ file `content`, checked against `trusted` if not empty.

    Raises InputError and UnsupportedError like `split_image`; the result reports problems of
    signatures.
    """
    split = split_image(content, name=name)
    digests = {"sha256": split.digest()}
    signatures = tuple(_read(each, split, digests, trusted) for each in split.signatures)
    return PeSignatures(digests["sha256"], _checksum(content, split), signatures)


def read_signers(content: Content, *, name: str = "the EFI binary") -> PeSignatures:
    """Return the signatures of `content` without comparing them with it: only headers are read.

    The result has no digest. Raises like `read_signatures`.
    """
    from imager.efi.pkcs7 import Pkcs7Error, read_attached

    found: list[PeSignature] = []
    for data in split_image(content, name=name).signatures:
        try:
            message = read_attached(data)
        except Pkcs7Error as error:
            found.append(PeSignature(None, "", b"", None, f"the signature {error}"))
        else:
            others = message.certificates
            found.append(PeSignature(message.certificate, message.hash_name, b"", None, "", others))
    return PeSignatures(b"", Checksum.NONE, tuple(found))


def _read(
    data: bytes, split: SplitImage, digests: dict[str, bytes], trusted: Sequence[Certificate]
) -> PeSignature:
    from imager.efi.pkcs7 import Pkcs7Error, read_attached

    try:
        message = read_attached(data)
    except Pkcs7Error as error:
        return PeSignature(None, "", b"", None, f"the signature {error}")
    anchored = is_trusted(message.certificate, trusted, others=message.certificates)
    problem, hash_name, claimed = "", "", b""
    try:
        hash_name, claimed = _claim(message.verify_attached(), message)
        _check_encoding(data, hash_name)
        if hash_name not in digests:
            digests[hash_name] = split.digest(hash_name)
        if digests[hash_name] != claimed:
            problem = "the signature is for another image, or this one is damaged"
    except Pkcs7Error as error:
        problem = f"the signature {error}"
    return PeSignature(
        message.certificate,
        hash_name,
        claimed,
        anchored if trusted else None,
        problem,
        message.certificates,
    )


def _claim(content: bytes, message: SignedMessage) -> tuple[str, bytes]:
    """Return the hash name and the digest in the signed `content`; raises Pkcs7Error."""
    from imager.efi.pkcs7 import ASN1_ERRORS, Pkcs7Error
    from imager.efi.spc import claimed_digest

    if message.content_type != SPC_INDIRECT_DATA:
        raise Pkcs7Error("is not an Authenticode signature")
    try:
        hash_name, claimed = claimed_digest(content)
    except ASN1_ERRORS as error:
        raise Pkcs7Error("does not sign an image") from error
    if hash_name != message.hash_name:
        raise Pkcs7Error(
            f"uses {message.hash_name} and {printable(hash_name)}, and UEFI firmware hashes the"
            " image with the former only"
        )
    return hash_name, claimed


def _check_encoding(data: bytes, hash_name: str) -> None:
    """Raise Pkcs7Error unless the hash algorithm is at the offset where firmware expects it."""
    from imager.efi.pkcs7 import Pkcs7Error

    if data[1] != _TWO_BYTES or not data[_PLACE:].startswith(_DIGEST_OIDS[hash_name]):
        raise Pkcs7Error("encodes lengths in a form that UEFI firmware does not support")


def _checksum(content: Content, split: SplitImage) -> Checksum:
    place = split.headers.checksum
    (stored,) = struct.unpack("<I", read_content(content.slice(place, 4)))
    if not stored:
        return Checksum.NONE
    rest = content.slice(place + 4, content.size - place - 4)
    unsummed = Content.concat([content.slice(0, place), Content(4), rest])
    return Checksum.RIGHT if image_checksum(unsummed) == stored else Checksum.WRONG
