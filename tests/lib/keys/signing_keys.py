"""Keys and certificates that openssl makes, for tests of what signs."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from imager.efi.certificates import first_certificate
from imager.efi.signer import FileSigner, load_signer
from tests.lib.tools.cli import run, tool

# Later than the certificates that the tests make.
NOW = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Keys:
    """A private key and its certificate, in PEM files."""

    key: Path
    certificate: Path

    @property
    def signer(self) -> FileSigner:
        return load_signer(self.key, self.certificate, now=NOW)[0]


def generated(folder: Path) -> Path:
    """Have `imager` make all keys for SecureBoot in `folder`, and return it."""
    done = run("secureboot", "gen-keys", folder)
    assert done.returncode == 0, done.stderr
    return folder


def self_signed(folder: Path, name: str = "signing", *, bits: int = 2048) -> Keys:
    """Make a key in `folder` with a certificate that it signed itself, as Talos does."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = Keys(folder / f"{name}-key.pem", folder / f"{name}-cert.pem")
    tool("openssl", "req", "-x509", "-newkey", f"rsa:{bits}", "-nodes", "-days", "3650",
         "-subj", f"/CN={name}", "-keyout", keys.key, "-out", keys.certificate)  # fmt: skip
    return keys


def issued(folder: Path, by: Keys, name: str = "issued", *, digest: str = "sha256") -> Keys:
    """Make a key in `folder` with a certificate that the key of `by` signed over its `digest`."""
    keys = Keys(folder / f"{name}-key.pem", folder / f"{name}-cert.pem")
    tool("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650",
         f"-{digest}", "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:FALSE",
         "-CA", by.certificate, "-CAkey", by.key,
         "-keyout", keys.key, "-out", keys.certificate)  # fmt: skip
    return keys


def pss_keys(folder: Path, name: str = "pss") -> Keys:
    """Make a key in `folder` that is for RSA-PSS only, with its certificate."""
    keys = Keys(folder / f"{name}-key.pem", folder / f"{name}-cert.pem")
    tool("openssl", "req", "-x509", "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048",
         "-nodes", "-days", "3650", "-subj", f"/CN={name}",
         "-keyout", keys.key, "-out", keys.certificate)  # fmt: skip
    return keys


def pss_signer(keys: Keys) -> FileSigner:
    """Return a signer that no build would take: of a key for RSA-PSS, signing as for UEFI."""
    key = load_pem_private_key(keys.key.read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return FileSigner(key, first_certificate(keys.certificate))
