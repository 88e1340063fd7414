"""Decide what a machine starts, given its databases: db allows, dbx forbids.

UEFI 2.10, 32.4.1 and 32.5.3.3. A database lists certificates, or digests of images; dbx may also
list digests of certificates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from imager.efi.authenticode_read import PeSignature, PeSignatures
from imager.efi.certificates import parse_certificate
from imager.efi.efivars import SHA256, X509, AuthFile
from imager.efi.trust import is_trusted

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_X509_SHA256 = UUID("3bd2a492-96c0-4079-b420-fcf98ef103ed")
_SHA256_SIZE = 32


def certificates_of(database: AuthFile) -> Iterator[Certificate]:
    """Yield the certificates in `database`, skipping those that cannot be parsed."""
    for entry in database.entries:
        if entry.kind == X509:
            try:
                yield parse_certificate(entry.data)
            except ValueError:
                continue


def accepts(database: AuthFile, certificate: Certificate) -> bool:
    """Return whether firmware with this db accepts signatures by the key of `certificate`."""
    return is_trusted(certificate, tuple(certificates_of(database)))


def starts(image: PeSignatures, *, db: AuthFile, dbx: AuthFile | None = None) -> bool:
    """Return whether firmware with these databases starts `image`, signed or not."""
    sound = [each for each in image.signatures if each.certificate and not each.problem]
    if dbx is not None and (_lists(dbx, image, sound) or _revokes(dbx, sound)):
        return False
    return _lists(db, image, sound)


def _lists(database: AuthFile, image: PeSignatures, sound: list[PeSignature]) -> bool:
    """Return whether `database` lists the digest of `image`, or its signer's chain."""
    if any(each.kind == SHA256 and each.data == image.digest for each in database.entries):
        return True
    certificates = tuple(certificates_of(database))
    return any(
        is_trusted(each.certificate, certificates, others=each.certificates)
        for each in sound
        if each.certificate
    )


def _revokes(dbx: AuthFile, sound: list[PeSignature]) -> bool:
    """Return whether `dbx` lists the digest of a certificate in a signature."""
    revoked = {each.data[:_SHA256_SIZE] for each in dbx.entries if each.kind == _X509_SHA256}
    found = (certificate for each in sound for certificate in each.certificates)
    return any(hashlib.sha256(each.tbs_certificate_bytes).digest() in revoked for each in found)
