"""New keys for SecureBoot and measured boot, as files named as Talos names them.

Key pairs are random and certificates are of the time of day; all else here is reproducible.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imager.errors import InputError
from imager.signing.certificates import der, pem
from imager.signing.enrollment import enrollment
from imager.signing.issuing import LONGEST_NAME, Issuer, Validity, new_rsa_key, private_pem
from imager.signing.signer import FileSigner
from imager.workspace import check_output_folder, new_folder

# The certificate stays in firmware for ten years, and boots verify but one or two signatures.
_SIGNING_BITS = 4096
# Many TPMs take no longer one for a policy.
_PCR_BITS = 2048
_VALIDITY = datetime.timedelta(days=3652)
_NAME_LIMIT = LONGEST_NAME - len(" CA")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file to write: what it is for, in a line, and whether it has to be kept secret."""

    name: str
    data: bytes
    purpose: str
    secret: bool = False


def generate_keys(
    folder: Path, *, common_name: str, passphrase: bytes | None, now: datetime.datetime
) -> tuple[KeyFile, ...]:
    """Make all keys anew and write them to the new folder `folder`; return what is there now.

    Certificates are valid for ten years from `now` (UTC) on. Private keys are encrypted when there
    is a `passphrase`; only their owner may read them. Raises InputError when `folder` has anything
    in it, which stays as it is, or for a name that a certificate cannot have.
    """
    if not common_name.isprintable() or not 1 <= len(common_name) <= _NAME_LIMIT:
        raise InputError(
            f"the common name {common_name!r} does not fit into a certificate",
            hint=f"give 1 to {_NAME_LIMIT} printable characters",
        )
    check_output_folder(folder.parent)
    with new_folder(folder) as temporary:
        files = tuple(_files(common_name, passphrase, now))
        for file in files:
            _write(temporary / file.name, file.data, mode=0o600 if file.secret else 0o644)
    return files


def _write(path: Path, data: bytes, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(descriptor, mode)


def _files(name: str, passphrase: bytes | None, now: datetime.datetime) -> Iterator[KeyFile]:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID

    validity = Validity.lasting(_VALIDITY, start=now)
    authority = Issuer.new(f"{name} CA", new_rsa_key(_SIGNING_BITS), validity)
    signing_key, pcr_key = new_rsa_key(_SIGNING_BITS), new_rsa_key(_PCR_BITS)
    purpose = ExtendedKeyUsageOID.CODE_SIGNING
    signing = authority.issue(name, signing_key, validity, purpose=purpose)
    variables = enrollment(FileSigner(signing_key, signing))
    secret = private_pem(authority.key, passphrase)
    yield KeyFile("ca-key.pem", secret, "issues signing certificates", secret=True)
    yield KeyFile("ca-cert.pem", pem(authority.certificate), "certificate of that")
    secret = private_pem(signing_key, passphrase)
    yield KeyFile("uki-signing-key.pem", secret, "signs what boots", secret=True)
    yield KeyFile("uki-signing-cert.pem", pem(signing), "certificate of that")
    yield KeyFile("uki-signing-cert.der", der(signing), "the same, for a setup menu")
    secret = private_pem(pcr_key, passphrase)
    public = pcr_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    yield KeyFile("pcr-signing-key.pem", secret, "signs PCR policies", secret=True)
    yield KeyFile("pcr-signing-public-key.pem", public, "public half of that")
    for variable, value in (("PK", variables.pk), ("KEK", variables.kek), ("db", variables.db)):
        yield KeyFile(f"{variable}.auth", value.auth, f"enrols {variable}")
        yield KeyFile(f"{variable}.esl", value.esl, f"{variable} unsigned, for other tools")
