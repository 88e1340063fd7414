"""Format the results of the SecureBoot commands as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imager.app.secureboot import GeneratedKeys
from imager.cli.tables import json_object, table
from imager.efi.authenticode_read import Checksum, PeSignature
from imager.efi.certificates import fingerprint, issuer, subject
from imager.efi.efivars import AuthFile
from imager.image.inspect_secureboot import Binary, EnrolledKeys, PcrFindings, SecureBootReport
from imager.support.units import count

_TRUST = {
    None: "valid; no --cert to check the signer",
    True: "valid, trusted",
    False: "not trusted",
}
_PLAIN_KEYS = """\
The private keys are not encrypted (PKCS #1, the only form that Talos's imager reads)."""
_ENCRYPTED_KEYS = """\
The private keys are encrypted (PKCS #8), and builds need IMAGER_KEY_PASSPHRASE. Talos's imager
cannot read encrypted keys. To decrypt one for it: openssl rsa -traditional -in KEY -out NEW"""
_CARE = """\
Keep secret files away from the machines that boot the images. No build needs ca-key.pem. Anyone
with uki-signing-key.pem can sign what these machines start."""


def keys_text(keys: GeneratedKeys) -> Iterator[str]:
    """Format a table of the new files, and advice on storing them."""
    rows = [(file.name, file.purpose, "SECRET" if file.secret else "") for file in keys.files]
    yield f"Wrote {count(len(keys.files), 'file')} to {keys.folder}:"
    for line in table(rows, numbers=0):
        yield f"  {line}"
    yield _ENCRYPTED_KEYS if keys.encrypted else _PLAIN_KEYS
    yield _CARE


def keys_json(keys: GeneratedKeys) -> dict[str, Any]:
    """Return the JSON object of `keys_text`."""
    return {
        "folder": str(keys.folder),
        "encrypted": keys.encrypted,
        "files": [json_object(file, without="data") for file in keys.files],
    }


def report_text(_path: Path, report: SecureBootReport) -> Iterator[str]:
    """Format the EFI binaries with their signatures, and the keys to enrol."""
    for binary in report.binaries:
        yield from _binary_lines(report.name(binary), binary)
    for keys in report.keys:
        yield from _keys_lines(report.name(keys), keys)


def _binary_lines(name: str, binary: Binary) -> Iterator[str]:
    yield f"{name}: {'; '.join(binary.problems) or 'signed'}"
    if binary.found is None:
        return
    yield f"  sha256       {binary.found.digest.hex()}"
    if binary.found.checksum is Checksum.WRONG:
        yield "  checksum     wrong in the headers, which firmware ignores"
    for each in binary.found.signatures:
        yield from _signature_lines(each)
    if binary.pcr is not None:
        yield from _pcr_lines(binary.pcr)


def _pcr_lines(pcr: PcrFindings) -> Iterator[str]:
    if not pcr.public_key and not pcr.signatures:
        yield "  measured     no signed TPM policies"
    for policy in pcr.policies:
        profile = f" (profile {policy.profile})" if policy.profile else ""
        yield f"  PCR 11       {policy.value.hex()} when the kernel starts{profile}"
        phases = ", ".join(phase or "kernel start" for phase in policy.phases)
        yield f"    policies   {phases or 'none'}"


def _signature_lines(each: PeSignature) -> Iterator[str]:
    yield f"  signature    {each.problem or _TRUST[each.trusted]}"
    if each.certificate is not None:
        dates = (each.certificate.not_valid_before_utc, each.certificate.not_valid_after_utc)
        yield f"    subject    {subject(each.certificate)}"
        yield f"    issuer     {issuer(each.certificate)}"
        yield f"    sha256     {fingerprint(each.certificate)}"
        yield f"    validity   {dates[0]:%Y-%m-%d} to {dates[1]:%Y-%m-%d}"


def _keys_lines(name: str, keys: EnrolledKeys) -> Iterator[str]:
    yield f"{name}: {'; '.join(keys.problems) or 'keys to enrol, valid'}"
    for file in keys.files:
        yield f"  {file.variable.value:12} {count(len(file.entries), 'entry')}, {_signed_by(file)}"


def _signed_by(file: AuthFile) -> str:
    return f"signed by {subject(file.signer)}" if file.signer is not None else "not signed"


def report_json(path: Path, report: SecureBootReport) -> dict[str, Any]:
    """Return the report as a JSON object; digests and fingerprints are hexadecimal."""
    return {
        "file": str(path),
        "ok": not report.problems,
        "problems": list(report.problems),
        "warnings": list(report.warnings),
        "binaries": [_binary_value(binary) for binary in report.binaries],
        "keys": [_keys_value(keys) for keys in report.keys],
    }


def _binary_value(binary: Binary) -> dict[str, Any]:
    found = binary.found
    return {
        "volume": binary.volume or None,
        "path": binary.path,
        "size": binary.size,
        "ok": not binary.problems,
        "problems": list(binary.problems),
        "digest": found and found.digest.hex(),
        "checksum": found and found.checksum.value,
        "signatures": [_signature_value(each) for each in found.signatures] if found else [],
        "uki": binary.pcr and _pcr_value(binary.pcr),
    }


def _pcr_value(pcr: PcrFindings) -> dict[str, Any]:
    return {
        "pcrpkey": pcr.public_key,
        "pcrsig": pcr.signatures,
        "policies": [
            {"profile": policy.profile, "pcr11": policy.value.hex(), "phases": list(policy.phases)}
            for policy in pcr.policies
        ],
    }


def _signature_value(each: PeSignature) -> dict[str, Any]:
    certificate = each.certificate
    return {
        "ok": not each.problem,
        "problem": each.problem,
        "trusted": each.trusted,
        "hash": each.hash_name,
        "digest": each.claimed.hex(),
        "certificate": certificate
        and {
            "subject": subject(certificate),
            "issuer": issuer(certificate),
            "sha256": fingerprint(certificate),
            "notBefore": certificate.not_valid_before_utc.isoformat(),
            "notAfter": certificate.not_valid_after_utc.isoformat(),
        },
    }


def _keys_value(keys: EnrolledKeys) -> dict[str, Any]:
    return {
        "volume": keys.volume or None,
        "path": keys.path,
        "ok": not keys.problems,
        "problems": list(keys.problems),
        "variables": {
            file.variable.value: {
                "entries": len(file.entries),
                "signer": file.signer and subject(file.signer),
                "timestamp": file.timestamp.isoformat(),
            }
            for file in keys.files
        },
    }
