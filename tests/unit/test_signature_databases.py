"""What a machine starts whose db and dbx have certificates, digests of images, or both."""

from __future__ import annotations

import hashlib
from uuid import UUID

import pytest

from imager.content.extents import Content
from imager.efi.authenticode import sign_pe
from imager.efi.authenticode_read import PeSignatures, read_signatures
from imager.efi.databases import starts
from imager.efi.efivars import (
    AuthFile,
    SignatureEntry,
    Variable,
    certificate_lists,
    parse_lists,
)
from imager.efi.signer import FileSigner
from tests.lib.keys.digest_lists import digest_list
from tests.lib.keys.pe_stub import patched, pe_stub
from tests.lib.keys.signing_keys import NOW, issued, self_signed
from tests.lib.tools.support import content_bytes

OWNER = UUID("11111111-2222-3333-4444-555566667777")
# EFI_CERT_X509_SHA256_GUID (UEFI 2.10, 32.4.1): a digest, and a time of 16 bytes.
CERTIFICATE_DIGEST = UUID("3bd2a492-96c0-4079-b420-fcf98ef103ed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> FileSigner:
    return self_signed(tmp_path_factory.mktemp("authority")).signer


@pytest.fixture(scope="module")
def signer(authority: FileSigner, tmp_path_factory: pytest.TempPathFactory) -> FileSigner:
    folder = tmp_path_factory.mktemp("signer")
    return issued(folder, self_signed(folder, "ca")).signer


def database(lists: bytes, *more: SignatureEntry) -> AuthFile:
    return AuthFile(Variable.DB, NOW, (*parse_lists(lists), *more), None, append=False)


def certificates(*signers: FileSigner) -> bytes:
    return certificate_lists([each.certificate for each in signers], owner=OWNER)


def image(signer: FileSigner | None = None) -> PeSignatures:
    content = Content.of_bytes(pe_stub())
    return read_signatures(sign_pe(content, signer) if signer else content)


def test_a_certificate_or_a_digest_allows(signer: FileSigner, authority: FileSigner) -> None:
    digest = digest_list([bytes(32), image().digest], owner=OWNER)
    signed, unsigned = image(signer), image()
    for db, starting in (
        (certificates(signer), (True, False)),
        (certificates(authority), (False, False)),
        (digest, (True, True)),
        (digest_list([bytes(32)], owner=OWNER), (False, False)),
        (certificates(authority) + digest, (True, True)),
    ):
        found = [starts(each, db=database(db)) for each in (signed, unsigned)]
        assert tuple(found) == starting


def test_dbx_forbids(signer: FileSigner, authority: FileSigner) -> None:
    allowed, signed = database(certificates(signer, authority)), image(signer)
    tbs = hashlib.sha256(signer.certificate.tbs_certificate_bytes).digest()
    revoked = SignatureEntry(CERTIFICATE_DIGEST, OWNER, tbs + bytes(16))
    for dbx, starting in (
        (database(b""), True),
        (database(certificates(authority)), True),
        (database(certificates(signer)), False),
        (database(digest_list([signed.digest], owner=OWNER)), False),
        (database(b"", revoked), False),
    ):
        assert starts(signed, db=allowed, dbx=dbx) is starting
    # Also where another signature would be allowed.
    both = read_signatures(sign_pe(sign_pe(Content.of_bytes(pe_stub()), signer), authority))
    assert starts(both, db=allowed)
    assert not starts(both, db=allowed, dbx=database(certificates(signer)))


def test_a_damaged_signature_allows_nothing(signer: FileSigner) -> None:
    data = content_bytes(sign_pe(Content.of_bytes(pe_stub()), signer))
    changed = read_signatures(Content.of_bytes(patched(data, 0x420, b"x")))
    assert not starts(changed, db=database(certificates(signer)))
    # Nor does it forbid: firmware does not get as far.
    digest = database(digest_list([changed.digest], owner=OWNER))
    assert starts(changed, db=digest, dbx=database(certificates(signer)))


def test_what_is_no_certificate_is_passed_over(signer: FileSigner) -> None:
    entry = parse_lists(certificates(signer))[0]
    broken = SignatureEntry(entry.kind, OWNER, b"\x30\x82")
    assert not starts(image(signer), db=database(b"", broken))
    assert starts(image(signer), db=database(certificates(signer), broken))
