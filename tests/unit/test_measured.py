"""PCR policies of UKIs: where they are put, what they cover, and what is wrong with others."""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from pathlib import Path

import pytest

from imager.content.extents import Content
from imager.efi import measured
from imager.efi.measured import check_pcr_policy, pe_sections, with_signatures
from imager.efi.pcr import TALOS_PHASES, pcr_value, public_key_pem
from imager.efi.uki import Section, plan_uki
from imager.efi.uki_sections import UkiParts, UkiProfile, uki_sections
from imager.support.errors import InputError, UnsupportedError
from tests.lib.keys.pcr_keys import PcrKey
from tests.lib.keys.pe_stub import SBAT, TABLE, patched, pe_stub
from tests.lib.tools.support import content_bytes, write_content

KERNEL, INITRAMFS = b"K" * 5000, b"I" * 7001
RESET = UkiProfile("reset", "Reset", "quiet wipe")
DEBUG = UkiProfile("debug", "Debug", "debug")


def make_stub(folder: Path, version: int) -> Path:
    """Return a stub that says that it is of systemd `version`; its code does."""
    said = f"#### LoaderInfo: systemd-stub {version} ####".encode()
    path = folder / "stub.efi"
    path.write_bytes(patched(pe_stub(), 0x400 + 100, said))
    return path


def parts(pcr_key: PcrKey, folder: Path, *profiles: UkiProfile) -> UkiParts:
    for name, data in (("vmlinuz", KERNEL), ("initramfs", INITRAMFS)):
        (folder / name).write_bytes(data)
    return UkiParts(
        os_release="ID=talos\n",
        cmdline="quiet",
        kernel=Content.of_file(folder / "vmlinuz"),
        initramfs=Content.of_file(folder / "initramfs"),
        uname="6.12.6-talos",
        pcr_public_key=public_key_pem(pcr_key),
        profiles=profiles or None,
    )


def make_uki(pcr_key: PcrKey, folder: Path, *profiles: UkiProfile, version: int = 257) -> Path:
    stub = make_stub(folder, version)
    sections = with_signatures(stub, uki_sections(parts(pcr_key, folder, *profiles)), pcr_key)
    return write_content(plan_uki(stub, sections), folder / "uki.efi")


def names(sections: tuple[Section, ...]) -> list[str]:
    return [section.name for section in sections]


def expected(pcr_key: PcrKey, version: int, **changed: bytes) -> bytes:
    """Return PCR 11 of the UKI that `parts` make, with other contents of some sections."""
    contents = {
        "linux": KERNEL,
        "osrel": b"ID=talos\n",
        "cmdline": b"quiet",
        "initrd": INITRAMFS,
        "uname": b"6.12.6-talos",
        "sbat": SBAT,
        "pcrpkey": pcr_key.public.read_bytes(),
        **changed,
    }
    digests = {f".{name}": sha256(data).digest() for name, data in contents.items()}
    return pcr_value(digests, stub=version)


def test_the_signature_comes_last(pcr_key: PcrKey, tmp_path: Path) -> None:
    stub = make_stub(tmp_path, 252)
    sections = uki_sections(parts(pcr_key, tmp_path))
    signed = with_signatures(stub, sections, pcr_key)
    assert signed[:-1] == sections
    assert names(signed) == [
        *(".osrel", ".cmdline", ".uname", ".pcrpkey", ".linux", ".initrd", ".pcrsig"),
    ]
    assert len(json.loads(content_bytes(signed[-1].content))["sha256"]) == 1


def test_each_profile_has_a_signature_at_its_end(pcr_key: PcrKey, tmp_path: Path) -> None:
    stub = make_stub(tmp_path, 257)
    signed = with_signatures(stub, uki_sections(parts(pcr_key, tmp_path, RESET, DEBUG)), pcr_key)
    assert names(signed)[6:] == [
        *(".profile", ".pcrsig"),
        *(".profile", ".cmdline", ".pcrsig") * 2,
    ]
    assert len({section.content for section in signed if section.name == ".pcrsig"}) == 3


@pytest.mark.parametrize("version", [252, 254, 257])
def test_the_policy_is_that_of_what_the_stub_measures(
    version: int, pcr_key: PcrKey, tmp_path: Path
) -> None:
    uki = make_uki(pcr_key, tmp_path, version=version)
    (policy,) = check_pcr_policy(Content.of_file(uki))
    assert policy == measured.PcrPolicy("", expected(pcr_key, version), TALOS_PHASES, ())


def test_profiles_boot_their_own_sections(pcr_key: PcrKey, tmp_path: Path) -> None:
    policies = check_pcr_policy(Content.of_file(make_uki(pcr_key, tmp_path, RESET)))
    values = [
        expected(pcr_key, 257, profile=b"ID=main"),
        expected(pcr_key, 257, profile=b"ID=reset\nTITLE=Reset", cmdline=b"quiet wipe"),
    ]
    assert policies == tuple(
        measured.PcrPolicy(name, value, TALOS_PHASES, ())
        for name, value in zip(("main", "reset"), values, strict=True)
    )


def test_each_content_is_hashed_once(
    pcr_key: PcrKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(content: Content) -> bytes:
        seen.append(content.size)
        return sha256(content_bytes(content)).digest()

    monkeypatch.setattr(measured, "hash_content", counted)
    uki = make_uki(pcr_key, tmp_path, RESET, DEBUG)
    assert [seen.count(len(data)) for data in (KERNEL, INITRAMFS)] == [1, 1]
    check_pcr_policy(Content.of_file(uki))
    assert [seen.count(len(data)) for data in (KERNEL, INITRAMFS)] == [2, 2]


@pytest.mark.parametrize("name", [".sbat", ".osrel", ".cmdline", ".uname", ".linux", ".initrd"])
def test_a_change_of_any_measured_section_is_noticed(
    name: str, pcr_key: PcrKey, tmp_path: Path
) -> None:
    uki = make_uki(pcr_key, tmp_path)
    (place,) = (
        each.content.extents[0].source
        for each in pe_sections(Content.of_file(uki), name="uki")
        if each.name == name
    )
    offset = getattr(place, "offset", 0)
    data = uki.read_bytes()
    uki.write_bytes(patched(data, offset, bytes([data[offset] ^ 1])))
    (policy,) = check_pcr_policy(Content.of_file(uki))
    assert policy.phases == ()
    assert "does not match this image" in policy.problems[0]
    uki.write_bytes(data)
    assert not check_pcr_policy(Content.of_file(uki))[0].problems


def test_a_uki_without_policies_says_so(pcr_key: PcrKey, tmp_path: Path) -> None:
    stub = make_stub(tmp_path, 257)
    plain = [each for each in uki_sections(parts(pcr_key, tmp_path)) if each.name != ".pcrpkey"]
    uki = write_content(plan_uki(stub, plain), tmp_path / "uki.efi")
    (policy,) = check_pcr_policy(Content.of_file(uki))
    assert policy.problems == (".pcrpkey is missing", ".pcrsig is missing")
    assert policy.phases == ()


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        (".pcrsig", b"{", ".pcrsig: not a list of PCR signatures: "),
        (".pcrpkey", b"no key", ".pcrpkey: not a public key in PEM"),
        (".pcrsig", b" " * ((1 << 20) + 1), ".pcrsig: 1048577 bytes exceeds the limit"),
    ],
)
def test_damaged_policies_are_problems(
    name: str, data: bytes, problem: str, pcr_key: PcrKey, tmp_path: Path
) -> None:
    stub = make_stub(tmp_path, 257)
    sections = with_signatures(stub, uki_sections(parts(pcr_key, tmp_path)), pcr_key)
    changed = Section(name, Content.of_bytes(data))
    others = [changed if each.name == name else each for each in sections]
    uki = write_content(plan_uki(stub, others), tmp_path / "uki.efi")
    (policy,) = check_pcr_policy(Content.of_file(uki))
    assert len(policy.problems) == 1
    assert policy.problems[0].startswith(problem)


def test_a_uki_inside_of_a_disk_is_checked(pcr_key: PcrKey, tmp_path: Path) -> None:
    uki = make_uki(pcr_key, tmp_path, RESET)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096) + uki.read_bytes() + bytes(4096))
    content = Content.of_file(disk)
    assert check_pcr_policy(content.slice(4096, content.size - 8192)) == check_pcr_policy(
        Content.of_file(uki)
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "does not state its version"),
        (b"#### LoaderInfo: systemd-stub 251 ####", "systemd 251"),
    ],
)
def test_stubs_of_which_it_is_not_known_what_they_measure(
    said: bytes, told: str, pcr_key: PcrKey, tmp_path: Path
) -> None:
    stub = tmp_path / "stub.efi"
    stub.write_bytes(pe_stub(symbols=said))
    with pytest.raises(UnsupportedError, match=told) as caught:
        with_signatures(stub, uki_sections(parts(pcr_key, tmp_path)), pcr_key)
    assert "252 or newer" in caught.value.hint
    with pytest.raises(UnsupportedError, match=told):
        check_pcr_policy(Content.of_file(stub))


def test_sections_larger_than_memory_are_not_hashed(tmp_path: Path) -> None:
    data = pe_stub()
    for row in (TABLE, TABLE + 40):
        data = patched(data, row + 8, struct.pack("<I", 0x8000_0000))
    path = tmp_path / "stub.efi"
    path.write_bytes(data)
    with pytest.raises(InputError, match="more memory"):
        pe_sections(Content.of_file(path), name="uki")


def test_what_memory_has_and_the_file_does_not_is_zeros(tmp_path: Path) -> None:
    path = tmp_path / "stub.efi"
    path.write_bytes(patched(pe_stub(), TABLE + 48, struct.pack("<I", 1000)))
    sbat = content_bytes(pe_sections(Content.of_file(path), name="uki")[1].content)
    assert sbat == SBAT.ljust(1000, b"\0")
