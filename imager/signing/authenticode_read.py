"""Signatures of EFI binaries read back and checked; see `authenticode` for the format.

Firmware runs an image when one of its signatures verifies and is by a certificate in `db`, or
issued by one. It looks neither at dates nor at the checksum in the headers.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imager.extents import Content
from imager.reading import iterate_bytes
from imager.signing.authenticode import SPC_INDIRECT_DATA, SplitImage, image_checksum, split_image
from imager.signing.certificates import is_trusted

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class Checksum(enum.Enum):
    """What the PE checksum in the headers is."""

    RIGHT = "right"
    WRONG = "wrong"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PeSignature:
    """One signature: `problem` says what is wrong with it, and is empty for a sound one.

    `certificate` is its signer's, None in a damaged one. `claimed` is the digest that it is for,
    `trusted` whether it is by one of the certificates that were given, None when none was.
    """

    certificate: Certificate | None
    hash_name: str
    claimed: bytes
    trusted: bool | None
    problem: str


@dataclass(frozen=True, slots=True)
class PeSignatures:
    """The signatures of an image with the SHA-256 Authenticode digest `digest`."""

    digest: bytes
    checksum: Checksum
    signatures: tuple[PeSignature, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong: a damaged signature, none at all, or none by a certificate given."""
        if not self.signatures:
            return ("it is not signed",)
        damaged = tuple(each.problem for each in self.signatures if each.problem)
        if damaged or any(each.trusted is not False for each in self.signatures):
            return damaged
        return ("no signature is by one of the given certificates",)


def read_signatures(
    content: Content, *, trusted: Sequence[Certificate] = (), name: str = "the EFI binary"
) -> PeSignatures:
    """Return the signatures of the PE32+ file `content`, held against `trusted` if there are any.

    Raises InputError and UnsupportedError for a file that is none, or not fit for signatures
    (`split_image`); what is wrong with a signature is in the result.
    """
    split = split_image(content, name=name)
    digests = {"sha256": split.digest()}
    signatures = tuple(_read(each, split, digests, trusted) for each in split.signatures)
    return PeSignatures(digests["sha256"], _checksum(content, split), signatures)


def _read(
    data: bytes, split: SplitImage, digests: dict[str, bytes], trusted: Sequence[Certificate]
) -> PeSignature:
    from imager.signing.pkcs7 import Pkcs7Error, read_attached

    try:
        message = read_attached(data)
    except Pkcs7Error as error:
        return PeSignature(None, "", b"", None, f"the signature {error}")
    anchored = is_trusted(message.certificate, trusted, others=message.certificates)
    problem, hash_name, claimed = "", "", b""
    try:
        hash_name, claimed = _claim(message.verify_attached(), message.content_type)
        if hash_name not in digests:
            digests[hash_name] = split.digest(hash_name)
        if digests[hash_name] != claimed:
            problem = "the signature is of another image, or this one is damaged"
    except Pkcs7Error as error:
        problem = f"the signature {error}"
    return PeSignature(
        message.certificate, hash_name, claimed, anchored if trusted else None, problem
    )


def _claim(content: bytes, content_type: str) -> tuple[str, bytes]:
    """Return the hash's name and the digest that a signature is for; raises Pkcs7Error."""
    from imager.signing.pkcs7 import ASN1_ERRORS, Pkcs7Error
    from imager.signing.signer import HASHES
    from imager.signing.spc import claimed_digest

    if content_type != SPC_INDIRECT_DATA:
        raise Pkcs7Error("is not Authenticode's")
    try:
        hash_name, claimed = claimed_digest(content)
    except ASN1_ERRORS as error:
        raise Pkcs7Error("is not of an image") from error
    if hash_name not in HASHES:
        raise Pkcs7Error("is for a digest that firmware does not take")
    return hash_name, claimed


def _checksum(content: Content, split: SplitImage) -> Checksum:
    place = split.headers.checksum
    (stored,) = struct.unpack("<I", b"".join(iterate_bytes(content.slice(place, 4))))
    if not stored:
        return Checksum.NONE
    rest = content.slice(place + 4, content.size - place - 4)
    unsummed = Content.concat([content.slice(0, place), Content(4), rest])
    return Checksum.RIGHT if image_checksum(unsummed) == stored else Checksum.WRONG
