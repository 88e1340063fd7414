"""Keys, certificates, signatures of EFI binaries: what is refused, and that damage is noticed.

Whether what is made is right is for foreign tools to say: tests/oracle/test_signing_oracle.py.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imager.content.extents import Content, FileRange
from imager.efi.authenticode import (
    SPC_INDIRECT_DATA,
    image_checksum,
    sign_pe,
    split_image,
)
from imager.efi.authenticode_read import Checksum, read_signatures
from imager.efi.certificates import load_certificates
from imager.efi.pe import content_headers
from imager.efi.pkcs7 import sign_attached
from imager.efi.signer import FileSigner, load_key, load_signer
from imager.efi.spc import indirect_data
from imager.support.errors import ImagerError, InputError, UnsupportedError
from tests.lib.keys.pe_stub import CHECKSUM, SECURITY_DIRECTORY, TABLE, patched, pe_stub
from tests.lib.keys.signing_keys import NOW, Keys, issued, pss_keys, self_signed
from tests.lib.tools.cli import peak_memory, tool
from tests.lib.tools.examples import examples
from tests.lib.tools.support import content_bytes

PASSPHRASE = "correct horse battery"
SHA512_OID = bytes.fromhex("608648016503040203")


@pytest.fixture(scope="module")
def signer(keys: Keys) -> FileSigner:
    return keys.signer


@pytest.fixture(scope="module")
def signed(signer: FileSigner) -> bytes:
    return content_bytes(sign_pe(Content.of_bytes(pe_stub()), signer))


def problems(data: bytes, signer: FileSigner) -> tuple[str, ...]:
    """Return why `data` is refused, by whichever way that is told."""
    try:
        found = read_signatures(Content.of_bytes(data), trusted=(signer.certificate,))
    except ImagerError as error:
        return (error.message,)
    return found.problems


# --- keys and certificates --------------------------------------------------------------------


def test_a_key_shows_nowhere(keys: Keys) -> None:
    signer, warnings = load_signer(keys.key, keys.certificate, now=NOW)
    assert warnings == ()
    body = keys.key.read_text().splitlines()[1]
    assert body not in repr(signer) + str(signer)
    assert "private_key" not in repr(signer)


def test_an_encrypted_key_opens_with_the_environment(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "key.pem"
    tool("openssl", "pkey", "-in", keys.key, "-aes256", "-passout", f"pass:{PASSPHRASE}",
         "-out", locked)  # fmt: skip
    locked.chmod(0o644)  # which is no matter then
    with pytest.raises(InputError, match="is encrypted") as caught:
        load_key(locked)
    assert "IMAGER_KEY_PASSPHRASE" in caught.value.hint
    monkeypatch.setenv("IMAGER_KEY_PASSPHRASE", "wrong")
    with pytest.raises(InputError, match="wrong passphrase, or a damaged file") as caught:
        load_key(locked)
    assert "wrong" not in caught.value.message.replace("wrong passphrase", "")
    monkeypatch.setenv("IMAGER_KEY_PASSPHRASE", PASSPHRASE)
    signer, warnings = load_signer(locked, keys.certificate, now=NOW)
    assert warnings == ()
    assert signer.sign(b"data") == keys.signer.sign(b"data")
    # Keys that are not encrypted open with the variable set as well.
    assert load_key(keys.key)[0].public_key == signer.public_key


def test_a_key_that_others_may_read_is_warned_of(keys: Keys, tmp_path: Path) -> None:
    exposed = tmp_path / "key.pem"
    exposed.write_bytes(keys.key.read_bytes())
    for mode, warned in ((0o640, True), (0o604, True), (0o600, False), (0o400, False)):
        exposed.chmod(mode)
        assert any("chmod 600" in each for each in load_key(exposed)[1]) is warned


@pytest.mark.parametrize(
    ("years", "words"), [(-1, "is not valid before"), (5, ""), (20, "expired on")]
)
def test_a_certificate_out_of_its_time_is_warned_of(keys: Keys, years: int, words: str) -> None:
    now = NOW + years * datetime.timedelta(days=365)
    _, warnings = load_signer(keys.key, keys.certificate, now=now)
    assert [words in warning for warning in warnings] == ([True] if words else [])


def test_a_key_and_the_certificate_of_another(keys: Keys, tmp_path: Path) -> None:
    other = self_signed(tmp_path, "other")
    with pytest.raises(InputError, match=r"other-cert.pem: this certificate \(CN=other\)"):
        load_signer(keys.key, other.certificate, now=NOW)


def test_a_key_that_firmware_does_not_verify(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    tool("openssl", "genrsa", "-out", key, "1024")
    with pytest.raises(
        UnsupportedError, match="1024 bits, and UEFI firmware supports 2048 to 16384"
    ):
        load_key(key)
    tool("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    with pytest.raises(UnsupportedError, match="UEFI firmware verifies RSA only"):
        load_key(key)


FORMS = {
    "PKCS #1": ("rsa", "-traditional"),
    "PKCS #1, encrypted": ("rsa", "-traditional", "-aes256", "-passout", f"pass:{PASSPHRASE}"),
    "PKCS #8": ("pkcs8", "-topk8", "-nocrypt"),
    "PKCS #8, encrypted": ("pkcs8", "-topk8", "-passout", f"pass:{PASSPHRASE}"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_a_key_is_read(
    form: tuple[str, ...], keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGER_KEY_PASSPHRASE", PASSPHRASE)
    command, *options = form
    written = tmp_path / "key.pem"
    tool("openssl", command, *options, "-in", keys.key, "-out", written)
    written.write_bytes(b"Bag Attributes: <none>\r\n" + written.read_bytes())
    assert load_key(written)[0].public_key == keys.signer.public_key


def test_a_key_for_pss_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encrypted file does not show what its key is for, but the certificate does."""
    keys = pss_keys(tmp_path)
    for load in (load_key, lambda path: load_signer(path, keys.certificate, now=NOW)):
        with pytest.raises(UnsupportedError, match=r"key.pem: the private key is for RSA-PSS"):
            load(keys.key)
    locked = tmp_path / "locked.pem"
    tool("openssl", "pkey", "-in", keys.key, "-aes256", "-passout", f"pass:{PASSPHRASE}",
         "-out", locked)  # fmt: skip
    monkeypatch.setenv("IMAGER_KEY_PASSPHRASE", PASSPHRASE)
    with pytest.raises(UnsupportedError, match=r"cert.pem: the certificate is for an RSA-PSS key"):
        load_signer(locked, keys.certificate, now=NOW)


NO_KEYS = {
    "certificate": (lambda keys: keys.certificate.read_bytes(), "this is a certificate, not"),
    "nothing": (lambda _: b"", "not in PEM format"),
    "binary": (lambda _: b"\x30\x82" + bytes(100), "not in PEM format"),
    "damaged": (lambda keys: keys.key.read_bytes()[:600], "is damaged"),
    "other": (lambda _: b"-----BEGIN PUBLIC KEY-----\n", "this PEM file contains no private key"),
    "large": (lambda _: bytes(1 << 20), "too large"),
}


@pytest.mark.parametrize(("make", "words"), NO_KEYS.values(), ids=NO_KEYS)
def test_what_is_no_key(
    make: Callable[[Keys], bytes], words: str, keys: Keys, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_bytes(make(keys))
    with pytest.raises(InputError, match=words):
        load_key(path)


@pytest.mark.parametrize("name", ["COSIGN", "SIGSTORE"])
def test_keys_of_cosign_are_told_from_damaged_ones(name: str, tmp_path: Path) -> None:
    """As `cosign generate-key-pair` writes them, today and before version 2.2."""
    kind, path = f"ENCRYPTED {name} PRIVATE KEY", tmp_path / "cosign.key"
    path.write_text(f"-----BEGIN {kind}-----\neyJrZGYiOnt9fQ==\n-----END {kind}-----\n")
    with pytest.raises(UnsupportedError, match="in cosign's own encrypted format") as caught:
        load_key(path)
    assert "cosign import-key-pair --key key.pem" in caught.value.hint


NO_CERTIFICATES = {
    "key": (lambda keys: keys.key.read_bytes(), "this is a private key, not"),
    "nothing": (lambda _: b"", "not an X.509 certificate"),
    "binary": (lambda _: b"\x30\x82" + bytes(100), "not an X.509 certificate"),
    "damaged": (lambda keys: keys.certificate.read_bytes()[:500], "not an X.509 certificate"),
    "other": (lambda _: b"-----BEGIN PUBLIC KEY-----\n", "this PEM file contains no certificate"),
    "large": (lambda _: bytes(1 << 20), "too large"),
}


@pytest.mark.parametrize(("make", "words"), NO_CERTIFICATES.values(), ids=NO_CERTIFICATES)
def test_what_is_no_certificate(
    make: Callable[[Keys], bytes], words: str, keys: Keys, tmp_path: Path
) -> None:
    path = tmp_path / "certificate"
    path.write_bytes(make(keys))
    with pytest.raises(InputError, match=words):
        load_certificates(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the private key .*none: No such file"):
        load_key(tmp_path / "none")
    with pytest.raises(InputError, match=r"cannot read the certificate .*: Is a directory"):
        load_certificates(tmp_path)


# --- EFI binaries -----------------------------------------------------------------------------


@pytest.mark.parametrize("symbols", [b"", b"s", b"symbols", bytes(8)])
def test_a_signed_image_is_accepted(symbols: bytes, signer: FileSigner) -> None:
    content = sign_pe(Content.of_bytes(pe_stub(symbols=symbols)), signer)
    found = read_signatures(content, trusted=(signer.certificate,))
    assert found.problems == ()
    assert found.checksum is Checksum.RIGHT
    (signature,) = found.signatures
    assert signature.claimed == found.digest
    assert signature.certificate == signer.certificate
    assert content.size % 8 == 0


def test_every_bit_that_counts_is_protected(signed: bytes, signer: FileSigner) -> None:
    """All bytes of headers and signature, and some of the rest; the checksum alone may change.

    And the number of unused bits of the certificate's own signature, which that does not cover.
    """
    assert problems(signed, signer) == ()
    headers = content_headers(Content.of_bytes(signed), name="stub")
    table = headers.certificates.offset
    sections = range(headers.header_size, table, 37)
    places = {*range(headers.header_size), *sections, table - 1, *range(table, len(signed))}
    unprotected = [
        place
        for place in sorted(places)
        if not problems(patched(signed, place, bytes([signed[place] ^ 0x01])), signer)
    ]
    unused_bits = signed.index(signer.certificate.signature) - 1
    assert set(unprotected) - {unused_bits} == set(range(CHECKSUM, CHECKSUM + 4))
    changed = patched(signed, CHECKSUM, bytes([signed[CHECKSUM] ^ 0x01]))
    assert read_signatures(Content.of_bytes(changed)).checksum is Checksum.WRONG


@pytest.mark.parametrize("change", [b"", b"x", bytes(8)])
def test_a_file_that_is_longer_or_shorter(change: bytes, signed: bytes, signer: FileSigner) -> None:
    data = signed + change if change else signed[:-8]
    assert problems(data, signer) == (
        "the EFI binary: the certificate table is damaged, or not at the end of the file",
    )


def test_who_signed_is_told_from_who_did_not(
    signed: bytes, signer: FileSigner, tmp_path: Path
) -> None:
    other = self_signed(tmp_path, "other").signer
    content = Content.of_bytes(signed)
    assert read_signatures(content).signatures[0].trusted is None
    found = read_signatures(content, trusted=(other.certificate,))
    assert found.problems == ("no signature chains to one of the given certificates",)
    both = sign_pe(content, other)
    for each in (signer, other):
        assert read_signatures(both, trusted=(each.certificate,)).problems == ()


def test_a_certificate_that_is_no_authority_vouches_for_itself_alone(tmp_path: Path) -> None:
    """A leaf that signs another certificate makes nobody an authority."""
    leaf = issued(tmp_path, self_signed(tmp_path, "ca"), "leaf")
    below = issued(tmp_path, leaf, "below").signer
    content = sign_pe(Content.of_bytes(pe_stub()), below)
    found = read_signatures(content, trusted=(leaf.signer.certificate,))
    assert found.problems == ("no signature chains to one of the given certificates",)


def test_unsigned(signer: FileSigner) -> None:
    assert problems(pe_stub(), signer) == ("not signed",)


def test_the_signature_of_another_image(signed: bytes, signer: FileSigner) -> None:
    """A table that is moved to another image of the same size verifies, but is not of it."""
    split = split_image(Content.of_bytes(signed))
    changed = patched(pe_stub(), 0x420, b"other")
    body = changed.ljust(split.image.size, b"\0")
    entry = struct.pack("<II", len(body), len(split.table))
    moved = patched(body, SECURITY_DIRECTORY, entry) + split.table
    assert problems(moved, signer) == (
        "the signature is for another image, or this one is damaged",
    )


def with_section(offset: int) -> bytes:
    """Return a stub whose second section lies at byte `offset`."""
    return patched(pe_stub(symbols=bytes(4096)), TABLE + 40 + 20, struct.pack("<I", offset))


def with_place(offset: int) -> bytes:
    """Return a stub that says of its last bytes, from `offset` on, that they are signatures."""
    data = pe_stub()
    return patched(data, SECURITY_DIRECTORY, struct.pack("<II", offset, len(data) - offset))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"MZ", InputError, "not a valid PE32"),
        (with_section(0xA00), UnsupportedError, "the bytes from 2048 to 2560 are in no section"),
        (with_section(0x600), InputError, "sections overlap at byte 1536"),
        (with_place(0x408), InputError, "the certificate table overlaps the sections"),
        (patched(pe_stub(), TABLE - 240 + 60, b"\xff" * 4), InputError, "size of the headers"),
        (
            patched(pe_stub(), TABLE - 240 + 108, b"\4\0\0\0"),
            UnsupportedError,
            "no entry for signatures",
        ),
        (patched(pe_stub(), TABLE - 240 + 108, b"\xff\0\0\0"), InputError, "do not fit"),
    ],
)
def test_what_cannot_be_signed(
    data: bytes, error: type[ImagerError], words: str, signer: FileSigner
) -> None:
    with pytest.raises(error, match=words):
        sign_pe(Content.of_bytes(data), signer)


def resigned(signer: FileSigner, content: bytes) -> bytes:
    """Return a stub with a sound signature over `content`, SpcIndirectDataContent in DER."""
    signature = sign_attached(SPC_INDIRECT_DATA, content, signer)
    return with_table(certificate_entry(signature))


def certificate_entry(signature: bytes) -> bytes:
    size = 8 + len(signature)
    return (struct.pack("<IHH", size, 0x200, 2) + signature).ljust(-(-size // 8) * 8, b"\0")


def test_the_image_has_to_be_hashed_as_the_signature_is(signer: FileSigner) -> None:
    """Firmware hashes the image with the algorithm of the signature, and looks at no other."""
    split = split_image(Content.of_bytes(pe_stub(symbols=b"")))
    ours = indirect_data(split.digest())
    assert problems(resigned(signer, ours), signer) == ()
    algorithm = b"\x30\x0d\x06\x09" + SHA512_OID + b"\x05\0"
    info = b"\x30\x51" + algorithm + b"\x04\x40" + split.digest("sha512")
    body = ours[2 : ours.index(b"\x30\x31\x30\x0d")] + info
    theirs = b"\x30\x81" + bytes([len(body)]) + body
    (problem,) = problems(resigned(signer, theirs), signer)
    assert problem.startswith("the signature uses sha256 and sha512, and UEFI firmware hashes")


def test_lengths_that_firmware_does_not_read(signer: FileSigner) -> None:
    """EDK II looks for the hash at byte 32, behind lengths in two bytes; OVMF refuses others."""
    split = split_image(Content.of_bytes(pe_stub(symbols=b"")))
    signature = sign_attached(SPC_INDIRECT_DATA, indirect_data(split.digest()), signer)
    assert signature[1] == 0x82
    for other in (b"\x30\x83\0" + signature[2:], b"\x30\x80" + signature[4:] + b"\0\0"):
        (problem,) = problems(with_table(certificate_entry(other)), signer)
        assert (
            problem == "the signature encodes lengths in a form that UEFI firmware does not support"
        )


TABLES = {
    "empty entry": struct.pack("<IHH", 8, 0x200, 2),
    "no size": struct.pack("<IHH", 0, 0x200, 2),
    "too long": struct.pack("<IHH", 99, 0x200, 2) + bytes(8),
    "other revision": struct.pack("<IHH", 16, 0x100, 2) + bytes(8),
    "other kind": struct.pack("<IHH", 16, 0x200, 0x0EF1) + bytes(8),
    "not zero behind": struct.pack("<IHH", 9, 0x200, 2) + b"\x30" + b"x" * 7,
    "many": struct.pack("<IHHQ", 16, 0x200, 2, 0) * 33,
    "huge": struct.pack("<IHH", 2 << 20, 0x200, 2).ljust(2 << 20, b"\0"),
}


def with_table(table: bytes) -> bytes:
    body = pe_stub(symbols=b"")
    return patched(body, SECURITY_DIRECTORY, struct.pack("<II", len(body), len(table))) + table


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_damaged_table_is_refused(table: bytes, signer: FileSigner) -> None:
    for use in (sign_pe, lambda content, _: read_signatures(content)):
        with pytest.raises((InputError, UnsupportedError), match="certificate table"):
            use(Content.of_bytes(with_table(table)), signer)


@given(st.binary(max_size=200), st.integers(0, 1500), st.binary(min_size=1, max_size=8))
@settings(max_examples=examples(150))
def test_hostile_signatures_are_problems_and_no_more(
    signed: bytes, signer: FileSigner, blob: bytes, place: int, change: bytes
) -> None:
    signature = split_image(Content.of_bytes(signed)).signatures[0]
    for each in (blob, patched(signature, place, change), signature[:place]):
        size = 8 + len(each)
        if len(each) and each != signature:
            table = struct.pack("<IHH", size, 0x200, 2) + each
            table = table.ljust(-(-size // 8) * 8, b"\0")
            assert problems(with_table(table), signer)


def test_sums_of_words_with_the_carry_added() -> None:
    assert image_checksum(Content.of_bytes(bytes(10))) == 10
    assert image_checksum(Content.of_bytes(b"\xff\xff")) == 0xFFFF + 2
    assert image_checksum(Content.of_bytes(b"\xff\xff\x01\x00")) == 1 + 4
    assert image_checksum(Content.of_bytes(b"\xff\xff\xff\xff")) == 0xFFFF + 4
    odd = Content.concat([Content.of_bytes(b"\x01"), Content(3), Content.of_bytes(b"\2\3\4")])
    assert image_checksum(odd) == 0x0001 + 0x0302 + 0x0004 + 7


def test_an_image_is_not_held_in_memory(keys: Keys, tmp_path: Path) -> None:
    big = tmp_path / "big.efi"
    with big.open("wb") as file:
        file.write(pe_stub(symbols=b""))
        file.truncate(400 << 20)
    content = sign_pe(Content.of_file(big), keys.signer)
    assert all(isinstance(e.source, FileRange) for e in content.extents if e.length > 4096)
    assert sum(e.length for e in content.extents if not isinstance(e.source, FileRange)) < 4096
    small = peak_memory("secureboot", "verify", "--help")
    with big.open("r+b") as file:
        file.truncate(0)
        for piece in (pe_stub(symbols=b""), bytes(200 << 20)):
            file.write(piece)
    target = tmp_path / "signed.efi"
    sign_to(content_of(big), keys, target)
    assert peak_memory("secureboot", "verify", target) < small + (64 << 20)


def content_of(path: Path) -> Content:
    return Content.of_file(path)


def sign_to(content: Content, keys: Keys, target: Path) -> None:
    from imager.content.reading import iterate_bytes

    with target.open("wb") as file:
        file.writelines(iterate_bytes(sign_pe(content, keys.signer)))
