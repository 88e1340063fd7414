"""The keys that a machine's firmware enrols: PK, KEK and db, made from one key, or checked.

As in Talos's files, all three hold one certificate, and its key signs each: PK itself, then KEK,
then db (UEFI 2.10, 32.3). It is the signing certificate, also when a CA issued it: firmware then
trusts what this key signs, and nothing else of that CA.

Well-known certificates, such as Microsoft's, are the user's files: those in the folder `db` may
sign what boots (as option ROMs of cards are), those in `KEK` may change db. Microsoft publishes
its own: https://github.com/microsoft/secureboot_objects.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from imager.efi.certificates import (
    fingerprint,
    load_certificates,
    read_limited,
)
from imager.efi.databases import certificates_of
from imager.efi.efivars import (
    X509,
    AuthFile,
    Variable,
    auth_variable,
    certificate_lists,
    parse_auth,
)
from imager.efi.errors import InvalidKeyError
from imager.efi.signer import Signer
from imager.efi.trust import is_trusted
from imager.support.repro import derived_uuid, source_date_epoch

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_SUFFIXES = (".der", ".crt", ".cer", ".pem")


@dataclass(frozen=True, slots=True)
class SignedVariable:
    """A variable's value as signature lists (`.esl`), and the same signed (`.auth`)."""

    esl: bytes
    auth: bytes


@dataclass(frozen=True, slots=True)
class Enrollment:
    """The three variables that turn SecureBoot on; PK is written last, and locks the others."""

    pk: SignedVariable
    kek: SignedVariable
    db: SignedVariable


@dataclass(frozen=True, slots=True)
class WellKnown:
    """Certificates of others to trust beside one's own."""

    db: tuple[Certificate, ...] = ()
    kek: tuple[Certificate, ...] = ()


def owner_guid(certificate: Certificate) -> UUID:
    """Return the owner id of the entries of `certificate`'s owner, derived from it."""
    return derived_uuid(f"secureboot owner {fingerprint(certificate)}")


def enrollment_time() -> datetime.datetime:
    """Return the instant of this build (SOURCE_DATE_EPOCH), the time of signed variables."""
    return datetime.datetime.fromtimestamp(source_date_epoch(), datetime.UTC)


def enrollment(
    signer: Signer,
    *,
    owner: UUID | None = None,
    extra_db: Sequence[Certificate] = (),
    extra_kek: Sequence[Certificate] = (),
    timestamp: datetime.datetime | None = None,
) -> Enrollment:
    """Return PK, KEK and db of `signer`, the latter two with the extra certificates as well.

    `owner` is by default `owner_guid`, `timestamp` that of the build; the same arguments give the
    same bytes.
    """
    own = signer.certificate
    guid = owner or owner_guid(own)
    instant = timestamp or enrollment_time()

    def signed(variable: Variable, extra: Sequence[Certificate]) -> SignedVariable:
        certificates = dict.fromkeys((own, *extra))
        esl = certificate_lists(certificates, owner=guid)
        return SignedVariable(
            esl, auth_variable(variable.value, variable.guid, esl, signer, instant)
        )

    return Enrollment(
        signed(Variable.PK, ()), signed(Variable.KEK, extra_kek), signed(Variable.DB, extra_db)
    )


def load_well_known(folder: Path) -> WellKnown:
    """Return the certificates (.der .crt .cer .pem) in `folder`/db and `folder`/KEK, by name.

    Raises InputError when there are none, or a file is no certificate.
    """
    found = WellKnown(tuple(_certificates(folder / "db")), tuple(_certificates(folder / "KEK")))
    if not found.db and not found.kek:
        raise InvalidKeyError(
            f"{folder}: found no certificates in db/ or KEK/",
            hint="copy Microsoft's there, from github.com/microsoft/secureboot_objects",
        )
    return found


def _certificates(folder: Path) -> Iterator[Certificate]:
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InvalidKeyError(f"cannot read {folder}: {error.strerror}") from error
    for path in paths:
        if path.suffix.lower() in _SUFFIXES:
            yield from load_certificates(path)


def load_auth(variable: Variable, path: Path) -> AuthFile:
    """Return what the file `path` sets `variable` to; raises InputError when it is not sound."""
    data, _ = read_limited(path, what=f"{variable.value} of SecureBoot", limit=1 << 20)
    return parse_auth(variable, data, name=str(path))


def enrollment_problems(pk: AuthFile, kek: AuthFile, db: AuthFile) -> tuple[str, ...]:
    """Return why firmware would refuse these three, each sound by itself; empty if it does not.

    PK contains one certificate and is signed with its key; KEK is signed by PK, db by KEK or PK.
    Firmware in setup mode enforces the first rule only.
    """
    return tuple(_problems(pk, kek, db))


def _problems(pk: AuthFile, kek: AuthFile, db: AuthFile) -> Iterator[str]:
    if len(pk.entries) != 1 or pk.entries[0].kind != X509:
        yield "PK does not contain exactly one certificate"
    for each in (kek, db):
        if not each.entries:
            yield f"{each.variable.value} contains no certificate"
    signers = ((pk, (pk,)), (kek, (pk,)), (db, (kek, pk)))
    for each, holders in signers:
        above = [certificate for holder in holders for certificate in certificates_of(holder)]
        if each.signer is None or not is_trusted(each.signer, above):
            names = " or ".join(holder.variable.value for holder in holders)
            yield f"{each.variable.value} is not signed by a key in {names}"
