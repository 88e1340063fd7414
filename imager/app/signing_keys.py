"""Open what a profile signs with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from imager.efi.aws_signer import AwsKey
from imager.efi.azure_signer import AzureKey
from imager.efi.grpc_signer import grpc_key, grpc_signer
from imager.efi.keyfiles import DEFAULT_FOLDER, WELL_KNOWN, SecureBootFiles
from imager.efi.pkcs11_signer import SCHEME, pkcs11_key, pkcs11_signer
from imager.efi.secureboot import SecureBoot, load_secure_boot
from imager.efi.signer import KeySigner, Signer
from imager.profile.inputs import PcrSigningKey, SecureBootInput, SigningKeyAndCertificate
from imager.profile.model import Profile
from imager.support.errors import InputError, UnsupportedError
from imager.support.fields import setting
from imager.support.reporter import Reporter
from imager.talos.choices import OutputKind

# Profiles printed by Talos contain its default paths; these mean the folder of keys.
_USUAL = SecureBootFiles.in_folder(DEFAULT_FOLDER)


def open_secure_boot(
    profile: Profile, folder: Path, timestamp: int, reporter: Reporter
) -> SecureBoot | None:
    """Open the keys that sign the output, if it is signed, and print warnings about them.

    `folder` has the keys and certificates that the profile does not name. `timestamp` is the time
    of signatures that tell one. Raises InputError for
    wrong keys and fields, DependencyError if a token or service fails.
    """
    if not profile.secureboot:
        if profile.input.secureboot:
            raise InputError(
                f"{setting('input.secureboot')} has no effect: this profile is not for SecureBoot",
                hint="build secureboot-iso or secureboot-metal, or set `secureboot: true`",
            )
        return None
    kind = profile.output.kind
    if kind in (OutputKind.KERNEL, OutputKind.INITRAMFS):
        raise UnsupportedError(
            f"{setting('secureboot', 'true')}: {setting('output.kind', kind.value)} is not signed",
            hint=f"choose {setting('output.kind', 'uki')}, or leave SecureBoot out",
        )
    given = profile.input.secureboot or SecureBootInput()
    files = _files(given, folder)
    secure_boot, warnings = load_secure_boot(
        files,
        now=datetime.now(UTC),
        timestamp=timestamp,
        signer=_remote_signer(given.secure_boot_signer, files),
        pcr_signer=_remote_key(given.pcr_signer),
    )
    reporter.warn(*warnings)
    return secure_boot


def _files(given: SecureBootInput, folder: Path) -> SecureBootFiles:
    files = SecureBootFiles.in_folder(folder)
    if signer := given.secure_boot_signer:
        files = replace(
            files,
            key=_chosen(signer.key_path, _USUAL.key, files.key),
            certificate=_chosen(signer.cert_path, _USUAL.certificate, files.certificate),
        )
    if given.pcr_signer:
        pcr_key = _chosen(given.pcr_signer.key_path, _USUAL.pcr_key, files.pcr_key)
        files = replace(files, pcr_key=pcr_key)
    paths = (given.platform_key_path, given.key_exchange_key_path, given.signature_key_path)
    pk, kek, db = map(_chosen, paths, _USUAL.variables, files.variables)
    files = replace(files, variables=(pk, kek, db))
    well_known = folder / WELL_KNOWN if given.include_well_known_certs else None
    return replace(files, well_known=well_known)


def _chosen(path: str, usual: Path, in_folder: Path) -> Path:
    return in_folder if path in ("", str(usual)) else Path(path)


def _remote_signer(key: SigningKeyAndCertificate | None, files: SecureBootFiles) -> Signer | None:
    """Return the signer that is not in files; None if it is. As in Talos, the service wins."""
    if key is None:
        return None
    if key.signer_address:
        return grpc_signer(key.signer_address)
    if key.key_path.startswith(SCHEME):
        return pkcs11_signer(key.key_path, files.certificate)
    if key.key_path or not (key.azure_vault_url or key.aws_kms_key_id):
        return None
    if key.azure_vault_url:
        return AzureKey(key.azure_vault_url, key.azure_certificate_id).signer()
    certificate = Path(key.aws_cert_path) if key.aws_cert_path else None
    return AwsKey(key.aws_kms_key_id, key.aws_region).signer(certificate, key.aws_cert_arn)


def _remote_key(key: PcrSigningKey | None) -> KeySigner | None:
    """Return the key for PCR policies that is not in a file; None if it is."""
    if key is None:
        return None
    if key.signer_address:
        return grpc_key(key.signer_address)
    if key.key_path.startswith(SCHEME):
        return pkcs11_key(key.key_path)
    if key.key_path or not (key.azure_vault_url or key.aws_kms_key_id):
        return None
    if key.azure_vault_url:
        return AzureKey(key.azure_vault_url, key.azure_key_id, key.azure_key_version).open()
    return AwsKey(key.aws_kms_key_id, key.aws_region).open()
