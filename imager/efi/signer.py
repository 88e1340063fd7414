"""Signers: an interface to a private RSA key, and an implementation for PEM files.

Keys in tokens and services are in `imager.efi.remote`. UEFI firmware verifies RSA with SHA-256
(UEFI 2.10, chapter 32) and PKCS #1 v1.5 padding (RFC 8017, 8.2), which is deterministic: the same
key and data give the same bytes.
"""

from __future__ import annotations

import datetime
import os
import re
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from imager.efi.certificates import first_certificate, read_limited, subject
from imager.efi.errors import InvalidKeyError
from imager.efi.trust import LARGEST_KEY, certificate_problem
from imager.support.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

KEY_VARIABLE = "IMAGER_KEY_PASSPHRASE"
HASHES = ("sha256", "sha384", "sha512")
SMALLEST_KEY = 2048
_NEW_KEYS = "make new keys: `imager secureboot gen-keys FOLDER`"
_PRIVATE = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
# Of cosign and of `skopeo generate-sigstore-key`, by an older and the present name.
_SIGSTORE = re.compile(rb"-----BEGIN ENCRYPTED (?:COSIGN|SIGSTORE) PRIVATE KEY-----")
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


class KeySigner(Protocol):
    """A private RSA key that signs without being exposed; sufficient for a PCR policy."""

    @property
    def public_key(self) -> RSAPublicKey:
        """The public key."""

    def sign(self, data: bytes) -> bytes:
        """Return the raw RSA PKCS #1 v1.5 signature of `data` with SHA-256."""


class Signer(KeySigner, Protocol):
    """A key with its X.509 certificate, as Authenticode and firmware variables require."""

    @property
    def certificate(self) -> Certificate:
        """The certificate of `public_key`."""


@dataclass(frozen=True, slots=True)
class FileKey:
    """A private key from a file; repr() omits it."""

    private_key: RSAPrivateKey = field(repr=False)

    @property
    def public_key(self) -> RSAPublicKey:
        """The public key."""
        return self.private_key.public_key()

    def sign(self, data: bytes) -> bytes:
        """Return the raw RSA PKCS #1 v1.5 signature of `data` with SHA-256."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        return self.private_key.sign(data, PKCS1v15(), SHA256())


@dataclass(frozen=True, slots=True)
class FileSigner(FileKey):
    """A private key and its certificate, from files."""

    certificate: Certificate


def key_passphrase() -> bytes | None:
    """Return the passphrase of private keys from the environment, or None if not set."""
    return os.fsencode(os.environ.get(KEY_VARIABLE, "")) or None


def load_signer(
    key: Path, certificate: Path, *, now: datetime.datetime
) -> tuple[FileSigner, tuple[str, ...]]:
    """Load the signer from the PEM files `key` and `certificate`, and return warnings about them.

    Warns if the certificate is not valid at `now`. `key_passphrase` decrypts an encrypted key. If
    the file has several certificates, the first is used, as in Talos's imager. Raises InputError
    for a file of the wrong kind, and if key and certificate do not match; UnsupportedError for a
    key that UEFI firmware cannot verify.
    """
    loaded, warnings = load_key(key)
    found = first_certificate(certificate)
    if problem := certificate_problem(found):
        raise UnsupportedError(f"{certificate}: {problem}", hint=_NEW_KEYS)
    if found.public_key() != loaded.public_key:
        raise InvalidKeyError(
            f"{certificate}: this certificate ({subject(found)}) does not belong to the key {key}",
            hint="give the key and the certificate that were made together",
        )
    signer = FileSigner(loaded.private_key, found)
    return signer, (*warnings, *_validity(found, certificate, now))


def load_key(path: Path) -> tuple[FileKey, tuple[str, ...]]:
    """Load an RSA key of 2048 to 16384 bits from the PEM file `path`, and return warnings about it.

    Raises like `load_signer`.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    key, warnings = load_private_key(path)
    if not isinstance(key, RSAPrivateKey):
        problem = "the private key is not an RSA key, and UEFI firmware verifies RSA only"
    elif not SMALLEST_KEY <= key.key_size <= LARGEST_KEY:
        problem = (
            f"the RSA key has {key.key_size} bits, and UEFI firmware supports"
            f" {SMALLEST_KEY} to {LARGEST_KEY}"
        )
    else:
        return FileKey(key), warnings
    raise UnsupportedError(f"{path}: {problem}", hint=_NEW_KEYS)


def load_private_key(path: Path) -> tuple[PrivateKeyTypes, tuple[str, ...]]:
    """Return the private key in the PEM file `path`, and warnings about the file.

    Reads every form that OpenSSL writes: PKCS #8, PKCS #1 and SEC 1, encrypted or not. Raises
    InputError if there is no key or it cannot be decrypted, UnsupportedError for an unknown kind
    of key and for RSA-PSS. RSA-PSS is not visible in an encrypted file, only in the certificate.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data, mode = read_limited(path, what="private key", hint=_NEW_KEYS)
    if not _PRIVATE.search(data):
        raise _no_key(path, data)
    if _SIGSTORE.search(data):
        raise UnsupportedError(
            f"{path}: a key in cosign's own encrypted format is not supported",
            hint="use one key for both: openssl ecparam -genkey -noout -name prime256v1 -out "
            "key.pem; cosign import-key-pair --key key.pem",
        )
    encrypted = any(mark in data for mark in _ENCRYPTED)
    passphrase = key_passphrase() if encrypted else None
    if encrypted and passphrase is None:
        raise InvalidKeyError(
            f"{path}: the private key is encrypted",
            hint=f"set the environment variable {KEY_VARIABLE} to its passphrase",
        )
    try:
        key = load_pem_private_key(data, passphrase)
    except UnsupportedAlgorithm as error:
        raise UnsupportedError(f"{path}: this kind of private key is not supported") from error
    except (ValueError, TypeError) as error:
        raise _unreadable(path, encrypted=encrypted) from error
    if not encrypted and _is_for_pss(data):
        raise UnsupportedError(
            f"{path}: the private key is for RSA-PSS signatures only, and UEFI, TPM policies and"
            " certificates made here use PKCS #1 v1.5",
            hint=_NEW_KEYS,
        )
    if encrypted or not stat.S_ISREG(mode) or not mode & 0o077:
        return key, ()
    warning = (
        f"{path}: this private key is not encrypted, and other users can read it: "
        f"chmod 600 {shlex.quote(str(path))}"
    )
    return key, (warning,)


def _is_for_pss(data: bytes) -> bool:
    """Return whether a valid PEM private key is marked for RSA-PSS (RFC 4055, section 1.2).

    The key object that the library returns does not retain the mark.
    """
    from asn1crypto import keys, pem

    blocks = [der for name, _, der in pem.unarmor(data, multiple=True) if name == "PRIVATE KEY"]
    algorithms = [keys.PrivateKeyInfo.load(der)["private_key_algorithm"] for der in blocks]
    return any(each["algorithm"].native == "rsassa_pss" for each in algorithms)


def _no_key(path: Path, data: bytes) -> InputError:
    if b"-----BEGIN CERTIFICATE-----" in data:
        return InvalidKeyError(
            f"{path}: this is a certificate, not a private key",
            hint="give the private key here, and the certificate in its own option or field",
        )
    if b"-----BEGIN " in data:
        return InvalidKeyError(f"{path}: this PEM file contains no private key")
    return InvalidKeyError(
        f"{path}: the private key is not in PEM format",
        hint="convert a DER key: openssl pkey -inform DER -in KEY -out key.pem",
    )


def _unreadable(path: Path, *, encrypted: bool) -> InputError:
    if encrypted:
        return InvalidKeyError(
            f"{path}: cannot decrypt the private key: wrong passphrase, or a damaged file",
            hint=f"set the environment variable {KEY_VARIABLE} to its passphrase",
        )
    return InvalidKeyError(f"{path}: the private key is damaged")


def _validity(certificate: Certificate, path: Path, now: datetime.datetime) -> Iterator[str]:
    """Yield warnings about the dates; firmware ignores them, since it has no trusted clock."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        yield f"{path}: the certificate is not valid before {start:%Y-%m-%d %H:%M} UTC"
    if now > end:
        yield f"{path}: the certificate expired on {end:%Y-%m-%d %H:%M} UTC"
