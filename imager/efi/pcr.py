"""Compute TPM PCR 11 of a booted unified kernel image, and sign policies for its value.

Extended data and their order: systemd-stub(7), "TPM PCR Notes", and systemd-measure(1), with the
section order of its sources (src/fundamental/uki.h). Policies: TCG's TPM 2.0 Library, part 3,
section 23.7, "TPM2_PolicyPCR". Only the SHA-256 bank is computed; all values are 32 bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imager.efi.errors import InvalidKeyError
from imager.efi.signer import KeySigner
from imager.support.signatures import verifies

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# Talos opens disks in machined, and extends no other phases before. A path is a phase preceded by
# all earlier ones (systemd-pcrphase.service(8)).
TALOS_PHASES = ("enter-initrd:leave-initrd:enter-machined",)
_SYSTEMD_PHASES = (
    "enter-initrd",
    "enter-initrd:leave-initrd",
    "enter-initrd:leave-initrd:sysinit",
    "enter-initrd:leave-initrd:sysinit:ready",
)
_KNOWN_PHASES = ("", *_SYSTEMD_PHASES, *TALOS_PHASES)

# In measurement order, each with the first systemd release whose stub measures it. .dtbauto, .hwids
# and .efifw are left out, since the machine determines which of them are measured.
_MEASURED = (
    (".linux", 252),
    (".osrel", 252),
    (".cmdline", 252),
    (".initrd", 252),
    (".ucode", 256),
    (".splash", 252),
    (".dtb", 252),
    (".uname", 254),
    (".sbat", 254),
    (".pcrpkey", 252),
    (".profile", 257),
)
FIRST_STUB = 252
_PCR = 11
_BANK = "sha256"
_ZEROS = bytes(32)
_POLICY_PCR = (0x17F).to_bytes(4, "big")
# TPML_PCR_SELECTION: one bank, TPM_ALG_SHA256, a three-byte bitmap with bit 11 set.
_SELECTION = (1).to_bytes(4, "big") + (0xB).to_bytes(2, "big") + b"\x03" + b"\x00\x08\x00"
_DAMAGED = "the image is damaged, or was changed after it was built: build it again"


@dataclass(frozen=True, slots=True)
class PcrSignature:
    """An entry of `.pcrsig`: a signed policy, and the SHA-256 of the signing key."""

    policy: bytes
    signature: bytes
    fingerprint: bytes


def measured_sections(stub: int) -> tuple[str, ...]:
    """Return the sections that the stub of systemd release `stub` measures, in order."""
    return tuple(name for name, since in _MEASURED if since <= stub)


def pcr_value(digests: Mapping[str, bytes], *, stub: int) -> bytes:
    """Return PCR 11 at kernel start for the stub of systemd release `stub`.

    `digests` are the SHA-256 of section contents by section name; sections that the stub does not
    measure are ignored.
    """
    value = _ZEROS
    for name in measured_sections(stub):
        if name in digests:
            value = _extended(value, _sha256(name.encode("ascii") + b"\0"))
            value = _extended(value, digests[name])
    return value


def after_phases(value: bytes, path: str) -> bytes:
    """Return `value` of PCR 11 extended by the phases of the colon-separated `path`."""
    for phase in filter(None, path.split(":")):
        value = _extended(value, _sha256(phase.encode()))
    return value


def pcr_policy(value: bytes) -> bytes:
    """Return the digest of the policy, in a SHA-256 session, that requires `value` in PCR 11."""
    return _sha256(_ZEROS + _POLICY_PCR + _SELECTION + _sha256(value))


def _extended(value: bytes, digest: bytes) -> bytes:
    return _sha256(value + digest)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def public_key_pem(signer: KeySigner) -> bytes:
    """Return the contents of `.pcrpkey`: the public key as PEM (SubjectPublicKeyInfo)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return signer.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def sign_policies(
    value: bytes, signer: KeySigner, *, phase_paths: Sequence[str] = TALOS_PHASES
) -> bytes:
    """Return the contents of `.pcrsig`, given the `value` of PCR 11 at kernel start.

    There is one entry for each of `phase_paths`, in the JSON format of systemd-measure. The
    signer's errors propagate.
    """
    fingerprint = _fingerprint(signer.public_key).hex()
    policies = [pcr_policy(after_phases(value, path)) for path in phase_paths]
    entries = [
        {
            "pcrs": [_PCR],
            "pkfp": fingerprint,
            "pol": policy.hex(),
            "sig": base64.b64encode(signer.sign(policy)).decode("ascii"),
        }
        for policy in policies
    ]
    return json.dumps({_BANK: entries}, separators=(",", ":")).encode("ascii")


def _fingerprint(key: RSAPublicKey) -> bytes:
    """Return the SHA-256 of the key as a DER RSAPublicKey (RFC 8017)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return _sha256(key.public_bytes(Encoding.DER, PublicFormat.PKCS1))


def read_signatures(data: bytes) -> tuple[PcrSignature, ...]:
    """Return the entries of a `.pcrsig` for PCR 11 in the SHA-256 bank.

    `data` is at most megabytes. Raises InputError if it is damaged.
    """
    try:
        entries = json.loads(data.rstrip(b"\0"))[_BANK]
        return tuple(_read_entry(entry) for entry in entries if entry["pcrs"] == [_PCR])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidKeyError(
            f".pcrsig: not a list of PCR signatures: {error}", hint=_DAMAGED
        ) from error


def _read_entry(entry: Mapping[str, str]) -> PcrSignature:
    policy, fingerprint = bytes.fromhex(entry["pol"]), bytes.fromhex(entry["pkfp"])
    signature = base64.b64decode(entry["sig"], validate=True)
    return PcrSignature(policy, signature, fingerprint)


def read_public_key(pem: bytes) -> RSAPublicKey:
    """Return the key of a `.pcrpkey`; raises InputError unless it is an RSA key in PEM."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKeyError(".pcrpkey: not a public key in PEM", hint=_DAMAGED) from error
    if not isinstance(key, RSAPublicKey):
        raise InvalidKeyError(".pcrpkey: not an RSA key, which PCR policies require", hint=_DAMAGED)
    return key


def signed_phases(
    value: bytes, signatures: Iterable[PcrSignature], key: RSAPublicKey
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Verify `signatures` with `key`, given the `value` of PCR 11 at kernel start.

    Returns the phase paths that have a signed policy ("" before the first phase), and the
    problems.
    """
    policies = {pcr_policy(after_phases(value, path)): path for path in _KNOWN_PHASES}
    phases, problems = [], []
    for each in signatures:
        policy = f".pcrsig: policy {each.policy.hex()}"
        if each.fingerprint != _fingerprint(key):
            problems.append(f"{policy} is signed by another key than .pcrpkey")
        elif not verifies(key, each.signature, _sha256(each.policy)):
            problems.append(f"{policy} has an invalid signature")
        elif each.policy not in policies:
            problems.append(f"{policy} does not match this image in any known boot phase")
        else:
            phases.append(policies[each.policy])
    return tuple(phases), tuple(problems)
