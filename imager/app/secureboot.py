"""Generate SecureBoot keys, and check the signatures in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imager.efi.certificates import load_certificates
from imager.efi.keygen import KeyFile, generate_keys
from imager.efi.signer import key_passphrase
from imager.image.inspect_secureboot import SecureBootReport, inspect_image


@dataclass(frozen=True, slots=True)
class GeneratedKeys:
    """The key files in `folder`, and whether the private keys are encrypted."""

    folder: Path
    files: Sequence[KeyFile]
    encrypted: bool


def generate_secure_boot_keys(folder: Path, common_name: str = "Talos SecureBoot") -> GeneratedKeys:
    """Generate keys for SecureBoot and measured boot, and the files that enrol them.

    Private keys are encrypted if IMAGER_KEY_PASSPHRASE is set. Raises InputError if the folder is
    not empty.
    """
    passphrase = key_passphrase()
    now = datetime.now(UTC)
    files = generate_keys(folder, common_name=common_name, passphrase=passphrase, now=now)
    return GeneratedKeys(folder, files, passphrase is not None)


def verify_signatures(file: Path, trusted: Sequence[Path] = ()) -> SecureBootReport:
    """Check the signatures of all EFI binaries in a UKI, ISO or disk image.

    `trusted` are certificate files. Problems are in the result. Raises InputError for a file that
    cannot be read.
    """
    certificates = [certificate for path in trusted for certificate in load_certificates(path)]
    return inspect_image(file, trusted=certificates)
