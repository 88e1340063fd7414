"""Breaks of what signs EFI binaries and SecureBoot's variables, and reads them back."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_UNIT = "tests/unit/test_signing.py"
_KEYS = "tests/unit/test_secureboot_keys.py"
_TRUST = "tests/oracle/test_trust_oracle.py"
_DATABASES = "tests/unit/test_signature_databases.py"

MUTANTS = (
    Mutant(
        "the digest has the checksum in it",
        "imager/efi/authenticode.py",
        "image.slice(0, headers.checksum),",
        "image.slice(0, headers.checksum + _CHECKSUM.size),",
        "tests/oracle/test_signing_oracle.py::test_sbverify_and_pesign_agree[odd]",
    ),
    Mutant(
        "a signature of another image is taken",
        "imager/efi/authenticode_read.py",
        "if digests[hash_name] != claimed:",
        "if len(digests[hash_name]) != len(claimed):",
        f"{_UNIT}::test_the_signature_of_another_image",
    ),
    Mutant(
        "a signed digest may be of other content",
        "imager/efi/pkcs7.py",
        "            _check_attributes(self.attributes, self.content_type, digest)",
        "            _check_attributes",
        f"{_UNIT}::test_every_bit_that_counts_is_protected",
    ),
    Mutant(
        "gaps between sections are signed over",
        "imager/efi/authenticode.py",
        "        if start > before:",
        "        if start > before + 4096:",
        f"{_UNIT}::test_what_cannot_be_signed",
    ),
    Mutant(
        "anyone who is trusted vouches for others",
        "imager/efi/trust.py",
        "or not basic.ca or",
        "or",
        f"{_UNIT}::test_a_certificate_that_is_no_authority_vouches_for_itself_alone",
    ),
    Mutant(
        "the name of a variable is not signed",
        "imager/efi/efivars.py",
        'text = name.encode("utf-16-le")',
        'text = b""',
        f"{_KEYS}::test_a_file_under_another_name",
    ),
    Mutant(
        "private keys are made for all to read",
        "imager/efi/keygen.py",
        "path.chmod(0o600 if file.secret else 0o644)",
        "path.chmod(0o644)",
        f"{_KEYS}::test_new_keys_are_all_there_and_the_owners_alone",
    ),
    Mutant(
        "new private keys have a form that Talos does not read",
        "imager/efi/keygen.py",
        "traditional=not passphrase",
        "traditional=False",
        f"{_KEYS}::test_private_keys_have_the_form_that_talos_reads",
    ),
    Mutant(
        "a key for PSS is taken for any RSA key",
        "imager/efi/trust.py",
        "algorithm, key = certificate.public_key_algorithm_oid.dotted_string,",
        "algorithm, key = _RSA,",
        f"{_TRUST}::test_a_key_for_pss_is_not_trusted",
    ),
    Mutant(
        "a build takes a key for PSS",
        "imager/efi/signer.py",
        "if not encrypted and _is_for_pss(data):",
        "if encrypted and _is_for_pss(data):",
        f"{_UNIT}::test_a_key_for_pss_is_refused",
    ),
    Mutant(
        "elliptic curves are trusted",
        "imager/efi/trust.py",
        "if certificate.signature_algorithm_oid.dotted_string not in _SIGNED_BY_RSA:",
        'if certificate.signature_algorithm_oid.dotted_string == "":',
        f"{_TRUST}::test_what_some_firmware_lacks_is_not_trusted",
    ),
    Mutant(
        "the length of a path does not count",
        "imager/efi/trust.py",
        "basic.path_length < below",
        "basic.path_length < 0",
        f"{_TRUST}::test_chains_are_trusted_that_openssl_trusts[path length exceeded]",
    ),
    Mutant(
        "an authority need not be allowed to sign certificates",
        "imager/efi/trust.py",
        "usage is None or bool(usage.key_cert_sign)",
        "True",
        f"{_TRUST}::test_chains_are_trusted_that_openssl_trusts[authority that may not sign]",
    ),
    Mutant(
        "critical extensions are passed over",
        "imager/efi/trust.py",
        "if each.critical and",
        "if not each.critical and",
        f"{_TRUST}::test_chains_are_trusted_that_openssl_trusts"
        "[authority with an unknown critical extension]",
    ),
    Mutant(
        "an image may be hashed otherwise than its signature says",
        "imager/efi/authenticode_read.py",
        "if hash_name != message.hash_name:",
        "if hash_name not in _DIGEST_OIDS:",
        f"{_UNIT}::test_the_image_has_to_be_hashed_as_the_signature_is",
    ),
    Mutant(
        "lengths may have any form",
        "imager/efi/authenticode_read.py",
        "if data[1] != _TWO_BYTES or not data[_PLACE:].startswith(_DIGEST_OIDS[hash_name]):",
        "if not data:",
        f"{_UNIT}::test_lengths_that_firmware_does_not_read",
    ),
    Mutant(
        "digests in db do not count",
        "imager/efi/databases.py",
        "each.data == image.digest",
        "each.data == b''",
        f"{_DATABASES}::test_a_certificate_or_a_digest_allows",
    ),
    Mutant(
        "dbx forbids nothing",
        "imager/efi/databases.py",
        "if dbx is not None and",
        "if dbx is None and",
        f"{_DATABASES}::test_dbx_forbids",
    ),
    Mutant(
        "an authority may issue authorities",
        "imager/efi/issuing.py",
        "x509.BasicConstraints(ca=True, path_length=0)",
        "x509.BasicConstraints(ca=True, path_length=None)",
        "tests/oracle/test_cert_gen.py::test_the_certificates_say_what_they_are_for",
    ),
    Mutant(
        "whoever signed db, firmware takes it",
        "imager/efi/enrollment.py",
        "if each.signer is None or not is_trusted(each.signer, above):",
        "if each.signer is None:",
        "tests/oracle/test_signing_oracle.py::test_three_files_belong_together",
    ),
    Mutant(
        "a private key is taken for a certificate",
        "imager/efi/certificates.py",
        'if b"PRIVATE KEY-----" in data and _BEGIN not in data:',
        "if not data:",
        f"{_UNIT}::test_what_is_no_certificate",
    ),
)
