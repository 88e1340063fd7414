"""What the commands on SecureBoot say: text for a person, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imager.cli.tables import table
from imager.output.secureboot import Binary, EnrolledKeys, PcrFindings, SecureBootReport
from imager.reporter import printable
from imager.signing.authenticode_read import Checksum, PeSignature
from imager.signing.certificates import fingerprint, issuer, subject
from imager.signing.efivars import AuthFile
from imager.signing.keygen import KeyFile


def keys_text(folder: Path, files: Sequence[KeyFile], *, encrypted: bool) -> str:
    """Return what each new file in `folder` is for, and what is to be done with it."""
    rows = [(file.name, file.purpose, "SECRET" if file.secret else "") for file in files]
    state = "encrypted" if encrypted else "not encrypted"
    lines = [
        f"{folder}:",
        *(f"  {line}" for line in table(rows, numbers=0)),
        f"The private keys are {state}. Keep them and ca-key.pem, which no build needs, away from",
        "machines that boot the images. Who has uki-signing-key.pem can sign what they start.",
    ]
    return printable("\n".join(lines))


def keys_json(folder: Path, files: Sequence[KeyFile], *, encrypted: bool) -> str:
    """Return the same as one JSON object."""
    value = {
        "folder": str(folder),
        "encrypted": encrypted,
        "files": [
            {"name": file.name, "purpose": file.purpose, "secret": file.secret} for file in files
        ],
    }
    return json.dumps(value, indent=2)


def report_text(report: SecureBootReport) -> str:
    """Return the EFI binaries with their signatures, and the keys that are offered."""
    lines: list[str] = []
    for binary in report.binaries:
        lines += _binary_lines(binary)
    for keys in report.keys:
        lines += _keys_lines(keys)
    return printable("\n".join(lines))


def _binary_lines(binary: Binary) -> Iterator[str]:
    yield f"{binary.path}: {'; '.join(binary.problems) or 'signed'}"
    if binary.found is None:
        return
    yield f"  sha256       {binary.found.digest.hex()}"
    if binary.found.checksum is Checksum.WRONG:
        yield "  checksum     wrong in the headers, which firmware takes no notice of"
    for each in binary.found.signatures:
        yield from _signature_lines(each)
    if binary.pcr is not None:
        yield from _pcr_lines(binary.pcr)


def _pcr_lines(pcr: PcrFindings) -> Iterator[str]:
    if not pcr.public_key and not pcr.signatures:
        yield "  measured     no policies for a TPM are signed"
    for policy in pcr.policies:
        profile = f" ({policy.profile})" if policy.profile else ""
        yield f"  PCR 11       {policy.value.hex()} when the kernel starts{profile}"
        phases = ", ".join(phase or "the kernel's start" for phase in policy.phases)
        yield f"    policies   {phases or 'none'}"


def _signature_lines(each: PeSignature) -> Iterator[str]:
    trust = {None: "by the certificate it comes with", True: "trusted", False: "not trusted"}
    yield f"  signature    {each.problem or trust[each.trusted]}"
    if each.certificate is not None:
        dates = (each.certificate.not_valid_before_utc, each.certificate.not_valid_after_utc)
        yield f"    subject    {subject(each.certificate)}"
        yield f"    issuer     {issuer(each.certificate)}"
        yield f"    sha256     {fingerprint(each.certificate)}"
        yield f"    validity   {dates[0]:%Y-%m-%d} to {dates[1]:%Y-%m-%d}"


def _keys_lines(keys: EnrolledKeys) -> Iterator[str]:
    yield f"{keys.path}: {'; '.join(keys.problems) or 'sound keys to enrol'}"
    for file in keys.files:
        held = f"{len(file.entries)} entries, signed by {_signed_by(file)}"
        yield f"  {file.variable.value:12} {held}"


def _signed_by(file: AuthFile) -> str:
    return subject(file.signer) if file.signer is not None else "nobody"


def report_json(path: Path, report: SecureBootReport) -> str:
    """Return the same as one JSON object; digests and fingerprints in hexadecimal digits."""
    value = {
        "file": str(path),
        "ok": not report.problems,
        "problems": list(report.problems),
        "binaries": [_binary_value(binary) for binary in report.binaries],
        "keys": [_keys_value(keys) for keys in report.keys],
    }
    return json.dumps(value, indent=2)


def _binary_value(binary: Binary) -> dict[str, Any]:
    found = binary.found
    return {
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
            {
                "profile": policy.profile,
                "pcr11": policy.value.hex(),
                "phases": list(policy.phases),
            }
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
