"""The SecureBoot variables PK, KEK and db: create them from one key, or check existing ones.

As in Talos's files, all three contain the same certificate and are signed with its key: PK signs
itself, then KEK, then db (UEFI 2.10, 32.3). The certificate is the signing certificate even if a
CA issued it: firmware then trusts only what this key signs, and nothing else of that CA.

The user supplies well-known certificates, such as Microsoft's, as files: those in the folder `db`
may sign what boots (such as option ROMs of cards), those in `KEK` may change db. Microsoft
publishes its certificates at https://github.com/microsoft/secureboot_objects.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

from imager.efi.certificates import fingerprint, load_certificates, read_limited
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

# Third-party certificates to trust, by the variable that lists them.
WellKnown = Mapping[Variable, Sequence["Certificate"]]
_SUFFIXES = (".der", ".crt", ".cer", ".pem")


@dataclass(frozen=True, slots=True)
class SignedVariable:
    """A variable's value as signature lists (`.esl`), and in signed form (`.auth`)."""

    esl: bytes
    auth: bytes


def enrollment(
    signer: Signer,
    *,
    owner: UUID | None = None,
    timestamp: int | None = None,
    extra: WellKnown = MappingProxyType({}),
) -> dict[Variable, SignedVariable]:
    """Return PK, KEK and db for `signer`; KEK and db also have the certificates of `extra`.

    They enable SecureBoot; write PK last, because it locks the others. `owner` is the owner GUID
    of their entries, by default derived from the certificate. `timestamp` is the time of the
    signatures, by default SOURCE_DATE_EPOCH.
    """
    own = signer.certificate
    owner = owner or derived_uuid(f"secureboot owner {fingerprint(own)}")
    seconds = source_date_epoch() if timestamp is None else timestamp
    instant = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    made = {}
    for variable in (Variable.PK, Variable.KEK, Variable.DB):
        certificates = dict.fromkeys((own, *extra.get(variable, ())))
        esl = certificate_lists(certificates, owner=owner)
        auth = auth_variable(variable.value, variable.guid, esl, signer, instant)
        made[variable] = SignedVariable(esl, auth)
    return made


def load_well_known(folder: Path) -> WellKnown:
    """Return the certificates (.der .crt .cer .pem) in `folder`/db and `folder`/KEK.

    Raises InputError if there are none, or if a file is not a certificate.
    """
    variables = (Variable.DB, Variable.KEK)
    found = {each: tuple(_certificates(folder / each.value)) for each in variables}
    if not any(found.values()):
        raise InvalidKeyError(
            f"{folder}: found no certificates in db/ or KEK/",
            hint="copy Microsoft's there, from https://github.com/microsoft/secureboot_objects",
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
    """Return the value that the file `path` gives `variable`; raises InputError if invalid."""
    data, _ = read_limited(path, what=f"SecureBoot variable {variable.value}", limit=1 << 20)
    return parse_auth(variable, data, name=str(path))


def enrollment_problems(pk: AuthFile, kek: AuthFile, db: AuthFile) -> tuple[str, ...]:
    """Return the reasons why firmware would reject this combination; empty if it would not.

    Each file must be valid on its own. PK contains one certificate and is signed with its key; PK
    signs KEK, and KEK or PK signs db. Firmware in setup mode enforces only the first rule.
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
