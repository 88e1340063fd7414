"""PCR 11 and its policies, by formulas and by values of systemd-measure 252 and tpm2-tools."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from imager.content.extents import Content
from imager.content.reading import hash_content
from imager.efi.pcr import (
    TALOS_PHASES,
    PcrSignature,
    after_phases,
    measured_sections,
    pcr_policy,
    pcr_value,
    public_key_pem,
    read_public_key,
    read_signatures,
    sign_policies,
    signed_phases,
)
from imager.support.errors import InputError
from tests.lib.keys.pcr_keys import PcrKey
from tests.lib.tools.cli import tool

CONTENTS = {
    ".linux": b"the kernel",
    ".osrel": b"ID=talos\n",
    ".cmdline": b"quiet",
    ".initrd": b"the initramfs",
    ".uname": b"6.12.6-talos",
    ".sbat": b"sbat,1\n",
    ".pcrsig": b"{}",
    ".text": b"code",
}
DIGESTS = {name: sha256(data).digest() for name, data in CONTENTS.items()}
OLD = (".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey")
# systemd-measure calculate --bank=sha256 --phase=enter-initrd, of .linux .osrel .cmdline .initrd
ENTERED = "f4868ec07bf9fe75f1cf64c154e830f5534170538f0a7caf92853dda713a9090"
# tpm2_policypcr -l sha256:11, in a session of a TPM just started
POLICY_OF_ZEROS = "fd32fa22c52cfc8e1a0c29eb38519f87084cab0b04b0d8f020a4d38b2f4e223e"
VALUE = bytes(range(32))


def extended(*words: bytes) -> bytes:
    """Return a register of zeros after SHA-256 of each word was extended into it."""
    value = bytes(32)
    for word in words:
        value = sha256(value + sha256(word).digest()).digest()
    return value


def test_each_release_measures_more_sections() -> None:
    assert measured_sections(252) == measured_sections(253) == OLD
    assert measured_sections(254) == (*OLD[:-1], ".uname", ".sbat", ".pcrpkey")
    assert measured_sections(256)[3:6] == (".initrd", ".ucode", ".splash")
    assert measured_sections(257)[-2:] == (".pcrpkey", ".profile")


def test_names_and_contents_are_extended_in_order() -> None:
    names = (".linux", ".osrel", ".cmdline", ".initrd")
    words = [word for name in names for word in (name.encode() + b"\0", CONTENTS[name])]
    assert pcr_value(DIGESTS, stub=252) == extended(*words)
    words += [b".uname\0", CONTENTS[".uname"], b".sbat\0", CONTENTS[".sbat"]]
    assert pcr_value(DIGESTS, stub=254) == extended(*words)
    assert pcr_value({}, stub=257) == bytes(32)


def test_the_value_and_the_policy_are_those_of_systemd_and_of_a_tpm() -> None:
    assert after_phases(pcr_value(DIGESTS, stub=252), "enter-initrd").hex() == ENTERED
    assert pcr_policy(bytes(32)).hex() == POLICY_OF_ZEROS


def test_phases_are_extended_without_a_nul() -> None:
    assert after_phases(bytes(32), "") == bytes(32)
    assert after_phases(bytes(32), "enter-initrd:leave-initrd") == extended(
        b"enter-initrd", b"leave-initrd"
    )


def test_contents_are_hashed_with_their_holes() -> None:
    content = Content.compose(3 << 20, [(5, Content.of_bytes(b"x" * 10))])
    data = bytes(5) + b"x" * 10 + bytes((3 << 20) - 15)
    assert hash_content(content) == sha256(data).digest()


def test_what_is_signed_can_be_read_back(pcr_key: PcrKey) -> None:
    data = sign_policies(VALUE, pcr_key)
    public = read_public_key(public_key_pem(pcr_key))
    assert public_key_pem(pcr_key) == pcr_key.public.read_bytes()
    assert signed_phases(VALUE, read_signatures(data), public) == (TALOS_PHASES, ())
    assert TALOS_PHASES == ("enter-initrd:leave-initrd:enter-machined",)
    phases = ("", "enter-initrd", "enter-initrd:leave-initrd:sysinit:ready")
    data = sign_policies(VALUE, pcr_key, phase_paths=phases)
    assert signed_phases(VALUE, read_signatures(data), public) == (phases, ())


def test_each_wrong_entry_is_told(pcr_key: PcrKey, tmp_path: Path) -> None:
    good, other, forged, foreign = (
        read_signatures(sign_policies(value, pcr_key))[0]
        for value in (VALUE, bytes(32), VALUE, VALUE)
    )
    forged = PcrSignature(forged.policy, other.signature, forged.fingerprint)
    stranger = PcrKey.make(tmp_path, name="other")
    foreign = read_signatures(sign_policies(VALUE, stranger))[0]
    phases, problems = signed_phases(VALUE, (good, other, forged, foreign), pcr_key.public_key)
    assert phases == TALOS_PHASES
    assert [line.split(" ", 3)[3] for line in problems] == [
        "does not match this image in any known boot phase",
        "has an invalid signature",
        "is signed by another key than .pcrpkey",
    ]
    assert problems[0].startswith(f".pcrsig: policy {other.policy.hex()} does not match")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"sha256": 1}',
        b'{"sha256": [1]}',
        b'{"sha256": [{"pcrs": [11]}]}',
        b'{"sha256": [{"pcrs": [11], "pkfp": "00", "pol": "zz", "sig": "AA=="}]}',
        b'{"sha256": [{"pcrs": [11], "pkfp": "00", "pol": "00", "sig": "*"}]}',
        b'{"sha256": [{"pcrs": [11], "pkfp": 1, "pol": "00", "sig": "AA=="}]}',
        b'{"sha256": [{"pcrs": [11], "pkfp": "00", "pol": "00", "sig": 7}]}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_pcrsig_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError, match=r"\.pcrsig: not a list of PCR signatures"):
        read_signatures(data)


def test_entries_of_other_registers_and_banks_are_left_out() -> None:
    entry = {"pcrs": [7], "pkfp": "00", "pol": "00", "sig": "AA=="}
    other = {"pcrs": [4, 11], "pkfp": "00", "pol": "00", "sig": "AA=="}
    assert read_signatures(json.dumps({"sha256": [entry, other], "sha1": [1]}).encode()) == ()
    assert read_signatures(json.dumps({"sha256": [{**entry, "pcrs": [11]}]}).encode()) == (
        PcrSignature(b"\0", b"\0", b"\0"),
    )


def test_what_is_no_rsa_key_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a public key in PEM"):
        read_public_key(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    tool("openssl", "genpkey", *curve, "-out", tmp_path / "ec.pem")
    tool("openssl", "pkey", "-in", tmp_path / "ec.pem", "-pubout", "-out", tmp_path / "public.pem")
    with pytest.raises(InputError, match="not an RSA key"):
        read_public_key((tmp_path / "public.pem").read_bytes())
