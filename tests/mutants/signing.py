"""Breaks of what signs EFI binaries and SecureBoot's variables, and reads them back."""

from __future__ import annotations

from tests.mutants.definitions import Mutant


def _mutant(what: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(what, f"imager/{file}", old, new, tuple(f"tests/{test}" for test in tests))


_UNIT = "unit/test_signing.py"
_KEYS = "unit/test_secureboot_keys.py"
_ORACLE = "oracle/test_signing_oracle.py"

SIGNING = (
    _mutant(
        "the digest has the checksum in it",
        "signing/authenticode.py",
        "image.slice(0, headers.checksum),",
        "image.slice(0, headers.checksum + _CHECKSUM.size),",
        f"{_ORACLE}::test_sbverify_and_pesign_agree[odd]",
    ),
    _mutant(
        "a signature of another image is taken",
        "signing/authenticode_read.py",
        "if digests[hash_name] != claimed:",
        "if len(digests[hash_name]) != len(claimed):",
        f"{_UNIT}::test_the_signature_of_another_image",
    ),
    _mutant(
        "a signed digest may be of other content",
        "signing/pkcs7.py",
        "            _check_attributes(self.attributes, self.content_type, digest)",
        "            _check_attributes",
        f"{_UNIT}::test_every_bit_that_counts_is_protected",
    ),
    _mutant(
        "gaps between sections are signed over",
        "signing/authenticode.py",
        "        if start > before:",
        "        if start > before + 4096:",
        f"{_UNIT}::test_what_cannot_be_signed",
    ),
    _mutant(
        "anyone who is trusted vouches for others",
        "signing/certificates.py",
        "BasicConstraints).value.ca",
        "BasicConstraints).value is not None",
        f"{_UNIT}::test_a_certificate_that_is_no_authority_vouches_for_itself_alone",
    ),
    _mutant(
        "the name of a variable is not signed",
        "signing/efivars.py",
        'text = name.encode("utf-16-le")',
        'text = b""',
        f"{_KEYS}::test_a_file_under_another_name",
    ),
    _mutant(
        "private keys are made for all to read",
        "signing/keygen.py",
        "mode=0o600 if file.secret else 0o644",
        "mode=0o644",
        f"{_KEYS}::test_new_keys_are_all_there_and_the_owners_alone",
    ),
)
