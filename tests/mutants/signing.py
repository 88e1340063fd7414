"""Breaks of what signs EFI binaries and SecureBoot's variables, and reads them back."""

from __future__ import annotations

from tests.mutants.definitions import Mutant


def _mutant(what: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(what, f"imager/{file}", old, new, tuple(f"tests/{test}" for test in tests))


_UNIT = "unit/test_signing.py"
_KEYS = "unit/test_secureboot_keys.py"
_ORACLE = "oracle/test_signing_oracle.py"
_TRUST = "oracle/test_trust_oracle.py"
_CHAINS = f"{_TRUST}::test_chains_are_trusted_that_openssl_trusts"
_DATABASES = "unit/test_signature_databases.py"

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
        "signing/trust.py",
        "if not basic.ca or",
        "if",
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
    _mutant(
        "new private keys have a form that Talos does not read",
        "signing/keygen.py",
        "if passphrase else private_pkcs1_pem(key)",
        "if passphrase else private_pem(key)",
        f"{_KEYS}::test_private_keys_have_the_form_that_talos_reads",
    ),
    _mutant(
        "a key for PSS is taken for any RSA key",
        "signing/trust.py",
        "algorithm, key = certificate.public_key_algorithm_oid.dotted_string,",
        "algorithm, key = _RSA,",
        f"{_TRUST}::test_a_key_for_pss_is_not_trusted",
    ),
    _mutant(
        "a build takes a key for PSS",
        "signing/signer.py",
        "if not encrypted and _is_for_pss(data):",
        "if encrypted and _is_for_pss(data):",
        f"{_UNIT}::test_a_key_for_pss_is_refused",
    ),
    _mutant(
        "elliptic curves are trusted",
        "signing/trust.py",
        "if certificate.signature_algorithm_oid.dotted_string not in _SIGNED_BY_RSA:",
        'if certificate.signature_algorithm_oid.dotted_string == "":',
        f"{_TRUST}::test_what_some_firmware_lacks_is_not_trusted",
    ),
    _mutant(
        "the length of a path does not count",
        "signing/trust.py",
        "basic.path_length < below",
        "basic.path_length < 0",
        f"{_CHAINS}[path length exceeded]",
    ),
    _mutant(
        "an authority need not be allowed to sign certificates",
        "signing/trust.py",
        "get_extension_for_class(KeyUsage).value.key_cert_sign",
        "get_extension_for_class(KeyUsage).value is not None",
        f"{_CHAINS}[authority that may not sign]",
    ),
    _mutant(
        "critical extensions are passed over",
        "signing/trust.py",
        "if each.critical and",
        "if not each.critical and",
        f"{_CHAINS}[authority with an unknown critical extension]",
    ),
    _mutant(
        "an image may be hashed otherwise than its signature says",
        "signing/authenticode_read.py",
        "if hash_name != message.hash_name:",
        "if hash_name not in _DIGEST_OIDS:",
        f"{_UNIT}::test_the_image_has_to_be_hashed_as_the_signature_is",
    ),
    _mutant(
        "lengths may have any form",
        "signing/authenticode_read.py",
        "if data[1] != _TWO_BYTES or not data[_PLACE:].startswith(_DIGEST_OIDS[hash_name]):",
        "if not data:",
        f"{_UNIT}::test_lengths_that_firmware_does_not_read",
    ),
    _mutant(
        "digests in db do not count",
        "signing/databases.py",
        "each.data == image.digest",
        "each.data == b''",
        f"{_DATABASES}::test_a_certificate_or_a_digest_allows",
    ),
    _mutant(
        "dbx forbids nothing",
        "signing/databases.py",
        "if dbx is not None and",
        "if dbx is None and",
        f"{_DATABASES}::test_dbx_forbids",
    ),
)
