"""Signatures and variables held against sbsigntool, pesign, osslsigncode and efitools.

The binaries are the real boot assets of both architectures, and a stub of odd size.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from imager.content.extents import Content
from imager.efi.authenticode import image_checksum, sign_pe, split_image
from imager.efi.authenticode_read import read_signatures
from imager.efi.certificates import first_certificate
from imager.efi.efivars import Variable, parse_lists
from imager.efi.enrollment import enrollment, enrollment_problems, load_auth
from imager.efi.pe import read_headers
from imager.formats.gpt.entries import ESP
from tests.lib.keys.digest_lists import digest_list
from tests.lib.keys.pe_stub import pe_stub
from tests.lib.keys.signing_keys import Keys, issued, self_signed
from tests.lib.tools.cli import build, partitions, real_assets, run, synthetic_assets, tool
from tests.lib.tools.support import content_bytes, write_content

pytestmark = pytest.mark.oracle

OWNER = "11111111-2222-3333-4444-555566667777"
LOADERS = ("amd64/systemd-boot.efi", "arm64/systemd-boot.efi")
KERNELS = ("amd64/vmlinuz", "arm64/vmlinuz")  # which Debian has signed
ODD = "odd"


def binary(name: str, folder: Path) -> Path:
    if name == ODD:
        path = folder / "odd.efi"
        path.write_bytes(pe_stub(symbols=b"symbols"))
        assert path.stat().st_size % 8
        return path
    arch = name.partition("/")[0]
    return real_assets(arch) / name


def sign(path: Path, keys: Keys, target: Path) -> Path:
    return write_content(sign_pe(Content.of_file(path), keys.signer), target)


@pytest.mark.parametrize("name", [*LOADERS, *KERNELS, ODD])
def test_sbverify_and_pesign_agree(name: str, keys: Keys, tmp_path: Path) -> None:
    source = binary(name, tmp_path)
    ours = sign(source, keys, tmp_path / "ours.efi")
    assert "Signature verification OK" in tool("sbverify", "--cert", keys.certificate, ours)
    digest = split_image(Content.of_file(ours)).digest().hex()
    assert f"hash: {digest}" in tool("pesign", "-P", "-h", "-i", source)
    assert f"hash: {digest}" in tool("pesign", "-P", "-h", "-i", ours)


@pytest.mark.parametrize("name", [*LOADERS, ODD])
def test_osslsigncode_agrees(name: str, keys: Keys, tmp_path: Path) -> None:
    ours = sign(binary(name, tmp_path), keys, tmp_path / "ours.efi")
    said = tool("osslsigncode", "verify", "-CAfile", keys.certificate, "-in", ours)
    assert "Signature verification: ok" in said
    assert "Succeeded" in said


@pytest.mark.parametrize("name", [*LOADERS, *KERNELS, ODD])
def test_the_image_is_what_sbsign_makes_of_it(name: str, keys: Keys, tmp_path: Path) -> None:
    """All but the checksum and the size of the table, which follow from sbsign's signing time."""
    source = binary(name, tmp_path)
    ours = sign(source, keys, tmp_path / "ours.efi")
    theirs = sbsign(source, keys, tmp_path / "theirs.efi")
    both = [split_image(Content.of_file(path)) for path in (ours, theirs)]
    (start,) = {split.headers.certificates.offset for split in both}
    bare = [bytearray(path.read_bytes()[:start]) for path in (ours, theirs)]
    for data, split in zip(bare, both, strict=True):
        data[split.headers.checksum : split.headers.checksum + 4] = bytes(4)
        data[split.headers.certificates.entry + 4 : split.headers.certificates.entry + 8] = bytes(4)
    assert bare[0] == bare[1]
    # Signatures of others stay, byte for byte.
    assert both[0].signatures[:-1] == both[1].signatures[:-1]


@pytest.mark.parametrize("name", [*LOADERS, *KERNELS, ODD])
def test_what_sbsign_signs_is_read(name: str, keys: Keys, tmp_path: Path) -> None:
    theirs = sbsign(binary(name, tmp_path), keys, tmp_path / "theirs.efi")
    trusted = (first_certificate(keys.certificate),)
    found = read_signatures(Content.of_file(theirs), trusted=trusted)
    assert found.problems == ()
    assert found.checksum.value == "right"
    assert found.signatures[-1].trusted


def sbsign(source: Path, keys: Keys, target: Path) -> Path:
    tool("sbsign", "--key", keys.key, "--cert", keys.certificate, "--output", target, source)
    return target


def test_the_checksum_is_sbsigns(keys: Keys, tmp_path: Path) -> None:
    theirs = sbsign(binary(LOADERS[0], tmp_path), keys, tmp_path / "theirs.efi")
    place = read_headers(theirs).checksum
    data = theirs.read_bytes()
    (stored,) = struct.unpack_from("<I", data, place)
    unsummed = data[:place] + bytes(4) + data[place + 4 :]
    # Read in pieces of odd sizes, as a content may be composed.
    pieces = [unsummed[at : at + 4093] for at in range(0, len(unsummed), 4093)]
    assert image_checksum(Content.concat(map(Content.of_bytes, pieces))) == stored


def test_two_signatures(keys: Keys, tmp_path: Path) -> None:
    other = self_signed(tmp_path, "other")
    once = sign(binary(LOADERS[0], tmp_path), other, tmp_path / "once.efi")
    twice = sign(once, keys, tmp_path / "twice.efi")
    for each in (keys, other):
        assert "verification OK" in tool("sbverify", "--cert", each.certificate, twice)
    assert sign(twice, keys, tmp_path / "again.efi").read_bytes() == twice.read_bytes()


def test_a_certificate_of_a_ca(keys: Keys, tmp_path: Path) -> None:
    """The CA's certificate vouches for the signature, as does the signer's own."""
    ca = self_signed(tmp_path, "ca")
    leaf = issued(tmp_path, ca)
    ours = sign(binary(LOADERS[0], tmp_path), leaf, tmp_path / "ours.efi")
    assert "verification OK" in tool("sbverify", "--cert", ca.certificate, ours)
    tool("sbverify", "--cert", keys.certificate, ours, status=1)
    for trusted, accepted in ((ca, True), (leaf, True), (keys, False)):
        found = read_signatures(
            Content.of_file(ours), trusted=(first_certificate(trusted.certificate),)
        )
        assert (found.problems == ()) is accepted


def damages(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield copies of a signed file with one byte changed, and where."""
    headers, data = read_headers(path), path.read_bytes()
    places = {"dos": 2, "coff": headers.checksum - 60, "table": headers.table_end - 1}
    places |= {f"{each.name} start": each.offset for each in headers.sections}
    places |= {f"{each.name} end": each.offset + each.raw_size - 1 for each in headers.sections}
    places |= {"behind": headers.certificates.offset - 1}
    for name, place in places.items():
        yield name, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("name", LOADERS)
def test_a_changed_byte_is_noticed_by_all(name: str, keys: Keys, tmp_path: Path) -> None:
    ours = sign(binary(name, tmp_path), keys, tmp_path / "ours.efi")
    copy = tmp_path / "copy.efi"
    for where, data in damages(ours):
        copy.write_bytes(data)
        assert "verification OK" not in tool(
            "sbverify", "--cert", keys.certificate, copy, status=None
        ), where
        found = read_signatures(Content.of_file(copy))
        assert found.problems, where


# --- variables --------------------------------------------------------------------------------


def test_variables_are_those_of_efitools(keys: Keys, tmp_path: Path) -> None:
    """To the byte: lists and signatures are deterministic."""
    made = enrollment(keys.signer, owner=UUID(OWNER))
    esl = tmp_path / "own.esl"
    tool("cert-to-efi-sig-list", "-g", OWNER, keys.certificate, esl)
    for variable, ours in made.items():
        auth = tmp_path / f"{variable.value}.auth"
        tool("sign-efi-sig-list", "-t", "2024-01-01 00:00:00", "-g", OWNER,
             "-k", keys.key, "-c", keys.certificate, variable.value, esl, auth)  # fmt: skip
        assert ours.esl == esl.read_bytes()
        assert ours.auth == auth.read_bytes()
        assert load_auth(variable, auth).signer == keys.signer.certificate


def test_several_certificates(keys: Keys, tmp_path: Path) -> None:
    other = self_signed(tmp_path, "other", bits=3072)
    made = enrollment(
        keys.signer, extra={Variable.DB: (other.signer.certificate, keys.signer.certificate)}
    )
    esl = tmp_path / "db.esl"
    esl.write_bytes(made[Variable.DB].esl)
    tool("sig-list-to-certs", esl, tmp_path / "cert")
    found = sorted(path.read_bytes() for path in tmp_path.glob("cert-*.der"))
    expected = [der(keys.certificate, tmp_path), der(other.certificate, tmp_path)]
    assert found == sorted(expected)
    assert len(parse_lists(made[Variable.DB].esl)) == 2


def der(certificate: Path, folder: Path) -> bytes:
    out = folder / "out.der"
    tool("openssl", "x509", "-in", certificate, "-outform", "DER", "-out", out)
    return out.read_bytes()


def test_digest_lists_are_those_of_sbsiglist(tmp_path: Path) -> None:
    digest = bytes(range(32))
    (tmp_path / "digest").write_bytes(digest)
    out = tmp_path / "esl"
    tool("sbsiglist", "--owner", OWNER, "--type", "sha256", "--output", out, tmp_path / "digest")
    assert digest_list([digest], owner=UUID(OWNER)) == out.read_bytes()


def test_variables_that_sbvarsign_signs_are_read(keys: Keys, tmp_path: Path) -> None:
    made = enrollment(keys.signer)
    esl, out = tmp_path / "esl", tmp_path / "auth"
    esl.write_bytes(made[Variable.DB].esl)
    attributes = "NON_VOLATILE,BOOTSERVICE_ACCESS,RUNTIME_ACCESS"
    tool("sbvarsign", "--key", keys.key, "--cert", keys.certificate, "--attr", attributes,
         "--output", out, "db", esl)  # fmt: skip
    found = load_auth(Variable.DB, out)
    assert found.signer == keys.signer.certificate
    assert not found.append
    tool("sbvarsign", "--key", keys.key, "--cert", keys.certificate,
         "--attr", f"{attributes},APPEND_WRITE", "--output", out, "db", esl)  # fmt: skip
    assert load_auth(Variable.DB, out).append


def test_openssl_verifies_a_variable(keys: Keys, tmp_path: Path) -> None:
    """And refuses it when one byte of what is signed has changed."""
    made = enrollment(keys.signer, owner=UUID(OWNER))
    size = struct.unpack_from("<I", made[Variable.DB].auth, 16)[0]
    signature = made[Variable.DB].auth[40 : 16 + size]
    guid = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f").bytes_le
    made_db = made[Variable.DB]
    content = "db".encode("utf-16-le") + guid + b"\x27\0\0\0" + made_db.auth[:16] + made_db.esl
    # openssl wants the ContentInfo that firmware does not.
    oid = bytes.fromhex("06092a864886f70d010702")
    inner = b"\xa0\x82" + len(signature).to_bytes(2, "big") + signature
    wrapped = b"\x30\x82" + (len(oid) + len(inner)).to_bytes(2, "big") + oid + inner
    (tmp_path / "p7").write_bytes(wrapped)
    for changed, verified in ((content, True), (b"X" + content[1:], False)):
        (tmp_path / "content").write_bytes(changed)
        said = tool("openssl", "smime", "-verify", "-binary", "-inform", "DER", "-in",
                    tmp_path / "p7", "-content", tmp_path / "content", "-CAfile",
                    keys.certificate, "-purpose", "any", "-out", "/dev/null",
                    status=None)  # fmt: skip
        assert bool(re.search("Verification successful", said)) is verified, said


def test_three_files_belong_together(keys: Keys, tmp_path: Path) -> None:
    made, other = enrollment(keys.signer), enrollment(self_signed(tmp_path, "other").signer)

    def read(variable: Variable, auth: bytes) -> Path:
        path = tmp_path / f"{variable.value}.auth"
        path.write_bytes(auth)
        return path

    pk = load_auth(Variable.PK, read(Variable.PK, made[Variable.PK].auth))
    kek = load_auth(Variable.KEK, read(Variable.KEK, made[Variable.KEK].auth))
    db = load_auth(Variable.DB, read(Variable.DB, made[Variable.DB].auth))
    foreign = load_auth(Variable.KEK, read(Variable.KEK, other[Variable.KEK].auth))
    assert enrollment_problems(pk, kek, db) == ()
    assert enrollment_problems(pk, foreign, db) == ("KEK is not signed by a key in PK",)


def test_the_same_key_gives_the_same_bytes(keys: Keys, tmp_path: Path) -> None:
    content = Content.of_file(binary(LOADERS[0], tmp_path))
    first, second = (content_bytes(sign_pe(content, keys.signer)) for _ in range(2))
    assert first == second
    assert enrollment(keys.signer) == enrollment(keys.signer)


@pytest.mark.parametrize("profile", ["iso", "metal"])
def test_what_imager_builds_is_looked_into(profile: str, tmp_path: Path) -> None:
    """All EFI binaries that mtools sees in the ESP are told of, as unsigned."""
    assets = synthetic_assets(tmp_path / "assets")
    arguments = ("--assets", assets, "--output", tmp_path, "--bootloader", "sd-boot")
    image = Path(build(profile, *arguments, "--out-format", "raw")["output"])
    (offset,) = (part.start for part in partitions(image)[1] if part.type_guid == str(ESP))
    listed = tool("mdir", "-i", f"{image}@@{offset}", "-/", "-b")
    done = run("secureboot", "verify", image, "--json")
    report = json.loads(done.stdout)
    names = [each["path"] for each in report["binaries"]]
    assert sorted(f"::/{name}" for name in names) == sorted(
        re.findall(r"^.*\.(?i:efi)$", listed, re.M)
    )
    assert len(names) >= 2
    assert report["problems"] == [f"{name}: not signed" for name in names]
    assert done.returncode == 2
