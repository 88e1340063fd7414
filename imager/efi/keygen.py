"""Generate keys for SecureBoot and measured boot, as files that Talos's imager can read.

Private keys are PKCS #1. Talos cannot decrypt keys, so encrypted ones use PKCS #8, which has a
stronger key derivation. Key pairs are random and certificates depend on the clock; everything else
is reproducible.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imager.efi.certificates import der, pem
from imager.efi.enrollment import enrollment
from imager.efi.errors import InvalidKeyError
from imager.efi.issuing import LONGEST_NAME, Issuer, Validity, new_rsa_key, private_pem
from imager.efi.signer import FileSigner
from imager.support.atomic import new_folder
from imager.support.folders import check_output_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

# The certificate stays in firmware for ten years; a boot verifies only one or two signatures.
_SIGNING_BITS = 4096
# Many TPMs do not support longer RSA keys.
_PCR_BITS = 2048
_VALIDITY = datetime.timedelta(days=3652)
_NAME_LIMIT = LONGEST_NAME - len(" CA")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file to write: a short description, and whether it is secret."""

    name: str
    data: bytes
    purpose: str
    secret: bool = False


def generate_keys(
    folder: Path, *, common_name: str, passphrase: bytes | None, now: datetime.datetime
) -> tuple[KeyFile, ...]:
    """Write new keys to the new folder `folder`, and return the written files.

    Certificates are valid for ten years from `now` (UTC). Private keys have mode 0600, and are
    encrypted if `passphrase` is given. Raises InputError if `folder` is not empty, or if the name
    does not fit into a certificate.
    """
    if not common_name.isprintable() or not 1 <= len(common_name) <= _NAME_LIMIT:
        raise InvalidKeyError(
            f"the common name {common_name!r} does not fit into a certificate",
            hint=f"give 1 to {_NAME_LIMIT} printable characters",
        )
    check_output_folder(folder.parent)
    with new_folder(folder) as temporary:
        files = tuple(_files(common_name, passphrase, now))
        for file in files:
            path = temporary / file.name  # in a folder that only its owner can read
            path.write_bytes(file.data)
            path.chmod(0o600 if file.secret else 0o644)
    return files


def _files(name: str, passphrase: bytes | None, now: datetime.datetime) -> Iterator[KeyFile]:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID

    validity = Validity.lasting(_VALIDITY, start=now)
    ca_key, signing_key = new_rsa_key(_SIGNING_BITS), new_rsa_key(_SIGNING_BITS)
    pcr_key = new_rsa_key(_PCR_BITS)
    authority = Issuer.new(f"{name} CA", ca_key, validity)
    purpose = ExtendedKeyUsageOID.CODE_SIGNING
    signing = authority.issue(name, signing_key, validity, purpose=purpose)
    variables = enrollment(FileSigner(signing_key, signing))
    yield _secret("ca-key.pem", ca_key, passphrase, "CA key: issues signing certificates")
    yield KeyFile("ca-cert.pem", pem(authority.certificate), "CA certificate")
    yield _secret("uki-signing-key.pem", signing_key, passphrase, "signs the loader and UKIs")
    yield KeyFile("uki-signing-cert.pem", pem(signing), "signing certificate")
    yield KeyFile("uki-signing-cert.der", der(signing), "signing certificate for firmware menus")
    public = pcr_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    yield _secret("pcr-signing-key.pem", pcr_key, passphrase, "signs TPM policies for PCR 11")
    yield KeyFile("pcr-signing-public-key.pem", public, "public key of those policies")
    for variable, made in variables.items():
        name = variable.value
        yield KeyFile(f"{name}.auth", made.auth, f"enrols {name}, signed")
        yield KeyFile(f"{name}.esl", made.esl, f"{name} as a signature list, unsigned")


def _secret(name: str, key: RSAPrivateKey, passphrase: bytes | None, purpose: str) -> KeyFile:
    # Talos's imager reads PKCS #1 only, and no encrypted keys.
    data = private_pem(key, passphrase, traditional=not passphrase)
    return KeyFile(name, data, purpose, secret=True)
