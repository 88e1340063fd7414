"""Who signs: a private RSA key, wherever it is kept, and here one in a PEM file.

A key in a KMS or behind PKCS#11 is one more module with a class of these methods. UEFI firmware
verifies RSA with SHA-256 (UEFI 2.10, chapter 32), as PKCS #1 v1.5
(RFC 8017, 8.2), which is deterministic: the same key and data give the same bytes.
"""

from __future__ import annotations

import datetime
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from imager.errors import InputError, UnsupportedError
from imager.signing.certificates import first_certificate, read_limited, subject

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

KEY_VARIABLE = "IMAGER_KEY_PASSPHRASE"
HASHES = ("sha256", "sha384", "sha512")
_SMALLEST = 2048
_PRIVATE = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


class KeySigner(Protocol):
    """A private RSA key that signs without being seen: enough for a PCR policy."""

    @property
    def public_key(self) -> RSAPublicKey:
        """The public half."""

    def sign(self, data: bytes, hash_name: str = "sha256") -> bytes:
        """Return the raw RSA PKCS #1 v1.5 signature over the hash (of `HASHES`) of `data`."""


class Signer(KeySigner, Protocol):
    """A key with its X.509 certificate: what Authenticode and the firmware's variables need."""

    @property
    def certificate(self) -> Certificate:
        """The certificate of `public_key`."""


@dataclass(frozen=True, slots=True)
class FileKey:
    """A private key from a file; it shows in no repr."""

    private_key: RSAPrivateKey = field(repr=False)

    @property
    def public_key(self) -> RSAPublicKey:
        """The public half."""
        return self.private_key.public_key()

    def sign(self, data: bytes, hash_name: str = "sha256") -> bytes:
        """Return the raw RSA PKCS #1 v1.5 signature over the hash (of `HASHES`) of `data`."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        if hash_name not in HASHES:
            raise ValueError(f"{hash_name} is not one of {HASHES}")
        algorithm = getattr(hashes, hash_name.upper())()
        return self.private_key.sign(data, PKCS1v15(), algorithm)


@dataclass(frozen=True, slots=True)
class FileSigner(FileKey):
    """A private key and its certificate, from files."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class LoadedKey:
    """A key, and what a person should know of its file."""

    key: FileKey
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadedSigner:
    """A signer, and what a person should know of its files."""

    signer: FileSigner
    warnings: tuple[str, ...]


def key_passphrase() -> bytes | None:
    """Return the passphrase of private keys, which only the environment may hold; else None."""
    return os.fsencode(os.environ.get(KEY_VARIABLE, "")) or None


def load_signer(key: Path, certificate: Path, *, now: datetime.datetime) -> LoadedSigner:
    """Return the signer of the PEM files `key` and `certificate`; warns of one not valid `now`.

    An encrypted key is opened with `key_passphrase`. Of several certificates the first is taken,
    as Talos does. Raises InputError for a file that is not what it should be and for two that do
    not belong together, UnsupportedError for a key that UEFI firmware does not verify.
    """
    loaded = load_key(key)
    found = first_certificate(certificate)
    if found.public_key() != loaded.key.public_key:
        raise InputError(
            f"{certificate}: this certificate ({subject(found)}) is not of the key {key}",
            hint="give the key and the certificate that were made together",
        )
    signer = FileSigner(loaded.key.private_key, found)
    return LoadedSigner(signer, (*loaded.warnings, *_validity(found, certificate, now)))


def load_key(path: Path) -> LoadedKey:
    """Return the RSA key of at least 2048 bits in the PEM file `path`; errors: `load_signer`."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    key, warnings = load_private_key(path)
    if not isinstance(key, RSAPrivateKey):
        raise UnsupportedError(
            f"{path}: the private key is not an RSA key, and UEFI firmware verifies RSA alone",
            hint="make one: imager secureboot gen-keys, or openssl genrsa 2048",
        )
    if key.key_size < _SMALLEST:
        raise UnsupportedError(
            f"{path}: an RSA key of {key.key_size} bits is too weak: "
            f"UEFI firmware and TPMs take {_SMALLEST} bits and more",
            hint="make one: imager secureboot gen-keys, or openssl genrsa 2048",
        )
    return LoadedKey(FileKey(key), warnings)


def load_private_key(path: Path) -> tuple[PrivateKeyTypes, tuple[str, ...]]:
    """Return the private key in the PEM file `path`, and what a person should know of the file.

    Raises InputError when there is none or it does not open, UnsupportedError for a kind of key
    that nothing here knows.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data, mode = read_limited(path, what="private key")
    if not _PRIVATE.search(data):
        raise _no_key(path, data)
    encrypted = any(mark in data for mark in _ENCRYPTED)
    passphrase = key_passphrase() if encrypted else None
    if encrypted and passphrase is None:
        raise InputError(
            f"{path}: the private key is encrypted",
            hint=f"put its passphrase into the environment variable {KEY_VARIABLE}",
        )
    try:
        key = load_pem_private_key(data, passphrase)
    except UnsupportedAlgorithm as error:
        raise UnsupportedError(f"{path}: this kind of private key is not supported") from error
    except (ValueError, TypeError) as error:
        raise _unreadable(path, encrypted=encrypted) from error
    return key, tuple(_exposure(path, mode, encrypted=encrypted))


def _no_key(path: Path, data: bytes) -> InputError:
    if b"-----BEGIN CERTIFICATE-----" in data:
        return InputError(
            f"{path}: this is a certificate, not a private key",
            hint="give the private key here, and the certificate where that is asked for",
        )
    if b"-----BEGIN " in data:
        return InputError(f"{path}: there is no private key in this PEM file")
    return InputError(
        f"{path}: the private key is not in PEM format",
        hint="for one in DER: openssl pkey -inform DER -in KEY -out key.pem",
    )


def _unreadable(path: Path, *, encrypted: bool) -> InputError:
    if encrypted:
        return InputError(
            f"{path}: the private key does not open: the passphrase is wrong, or it is damaged",
            hint=f"see the environment variable {KEY_VARIABLE}",
        )
    return InputError(f"{path}: the private key is damaged")


def _exposure(path: Path, mode: int, *, encrypted: bool) -> Iterator[str]:
    if stat.S_ISREG(mode) and mode & 0o077 and not encrypted:
        yield (
            f"{path}: others than its owner may read this private key, and it is not encrypted: "
            f"chmod 600 {path}"
        )


def _validity(certificate: Certificate, path: Path, now: datetime.datetime) -> Iterator[str]:
    """Yield what is wrong with the dates: firmware has no trusted clock and takes no notice."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        yield f"{path}: the certificate is not valid before {start:%Y-%m-%d %H:%M} UTC"
    if now > end:
        yield f"{path}: the certificate expired on {end:%Y-%m-%d %H:%M} UTC"
