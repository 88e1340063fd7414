from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pefile
import pytest

from imager.content.extents import Content, Data, FileRange
from imager.efi.pe import PeSection, check_pe, content_headers, read_headers
from imager.efi.systemd import version_number
from imager.efi.uki import Section, plan_uki
from imager.efi.uki_sections import UkiParts, UkiProfile, os_release, uki_sections
from imager.support.errors import InputError, UnsupportedError
from tests.lib.keys.pe_stub import (
    CHECKSUM,
    DEBUG_DIRECTORY,
    MACHINE,
    OPTIONAL,
    PE_START,
    SBAT,
    SECURITY_DIRECTORY,
    SUBSYSTEM,
    TABLE,
    TEXT,
    patched,
    pe_stub,
)
from tests.lib.tools.support import content_bytes, write_content

AMD64 = 0x8664


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    path = tmp_path / "stub.efi"
    path.write_bytes(pe_stub())
    return path


def text(name: str, value: bytes) -> Section:
    return Section(name, Content.of_bytes(value))


def section_data(image: bytes, section: PeSection) -> bytes:
    return image[section.offset :][: section.virtual_size]


def many(count: int) -> list[Section]:
    return [text(f".s{index}", b"x" * (index + 1)) for index in range(count)]


def test_sections_are_appended_in_order_with_exact_sizes(stub: Path) -> None:
    added = {".osrel": b"ID=talos\n", ".linux": b"L" * 513, ".initrd": b"I" * 512}
    image = content_bytes(plan_uki(stub, [text(*item) for item in added.items()]))
    (stub.parent / "uki.efi").write_bytes(image)
    sections = read_headers(stub.parent / "uki.efi").sections
    data = {section.name: section_data(image, section) for section in sections}
    assert data == {".text": TEXT, ".sbat": SBAT, **added}
    assert list(data) == [".text", ".sbat", ".osrel", ".linux", ".initrd"]
    assert [section.virtual_address for section in sections[2:]] == [0x3000, 0x4000, 0x5000]
    assert all(section.offset % 512 == section.raw_size % 512 == 0 for section in sections)


def test_headers_describe_the_new_image(stub: Path) -> None:
    image = content_bytes(plan_uki(stub, [text(".linux", b"L" * 5000)]))
    parsed = pefile.PE(data=image, fast_load=True)
    assert parsed.OPTIONAL_HEADER.SizeOfImage == 0x5000
    assert parsed.OPTIONAL_HEADER.SizeOfInitializedData == 512 + 5632
    assert parsed.OPTIONAL_HEADER.SizeOfHeaders == 0x400
    assert parsed.OPTIONAL_HEADER.CheckSum == 0
    assert parsed.FILE_HEADER.NumberOfSections == 3
    assert parsed.FILE_HEADER.PointerToSymbolTable == 0
    assert parsed.sections[2].Characteristics == 0x40000040
    assert not parsed.get_warnings()
    assert b"symbols" not in image


def test_kernel_and_initramfs_stay_references(stub: Path) -> None:
    kernel = stub.parent / "vmlinuz"
    kernel.write_bytes(b"K" * 100_000)
    plan = plan_uki(stub, [Section(".linux", Content.of_file(kernel))])
    assert plan.extents[-1].source == FileRange(kernel)
    held = sum(len(each.source.data) for each in plan.extents if isinstance(each.source, Data))
    assert held < 4096


def test_a_plan_depends_on_its_inputs_only(stub: Path) -> None:
    assert plan_uki(stub, many(3)) == plan_uki(stub, many(3))


def test_full_headers_grow_and_the_stub_moves(stub: Path) -> None:
    count = (0x400 - TABLE) // 40 - 1
    before = read_headers(stub)
    image = content_bytes(plan_uki(stub, many(count)))
    path = stub.parent / "uki.efi"
    path.write_bytes(image)
    after = read_headers(path)
    assert after.first_data == before.first_data + 512
    assert after.table_end <= after.first_data
    assert section_data(image, after.sections[0]) == TEXT
    assert section_data(image, after.sections[1]) == SBAT
    assert pefile.PE(data=image, fast_load=True).OPTIONAL_HEADER.SizeOfHeaders == 0x600
    for index, section in enumerate(after.sections[2:]):
        assert section_data(image, section) == b"x" * (index + 1)


def test_headers_that_reach_the_first_section_are_unsupported(stub: Path) -> None:
    with pytest.raises(UnsupportedError, match="no room"):
        plan_uki(stub, many(93))


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (SECURITY_DIRECTORY, struct.pack("<II", 0x1000, 8), "signed"),
        (TABLE + 90, b"bound imports", "follows the section table"),
    ],
)
def test_stubs_that_cannot_be_extended(stub: Path, offset: int, value: bytes, message: str) -> None:
    stub.write_bytes(patched(pe_stub(), offset, value))
    with pytest.raises(UnsupportedError, match=message):
        plan_uki(stub, many(1))


def test_code_that_pads_the_headers_is_no_data(stub: Path) -> None:
    """Some linkers fill the headers with an instruction that does nothing (AArch64: NOP)."""
    before = pe_stub(header_size=0x1000)
    room = before[TABLE + 80 : 0x1000]
    padding = b"\x1f\x20\x03\xd5" * (len(room) // 4)
    stub.write_bytes(patched(before, TABLE + 80, padding))
    image = content_bytes(plan_uki(stub, many(3)))
    path = stub.parent / "uki.efi"
    path.write_bytes(image)
    sections = read_headers(path).sections
    assert [section_data(image, each) for each in sections[2:]] == [b"x", b"xx", b"xxx"]
    assert section_data(image, sections[0]) == TEXT


def test_a_stub_whose_sizes_overflow_is_an_input_error(stub: Path) -> None:
    stub.write_bytes(patched(pe_stub(), OPTIONAL + 8, b"\xff\xff\xff\xff"))
    with pytest.raises(InputError, match="not a valid PE32"):
        plan_uki(stub, many(1))


def test_a_debug_directory_only_forbids_moving(stub: Path) -> None:
    stub.write_bytes(patched(pe_stub(), DEBUG_DIRECTORY, struct.pack("<II", 0x1000, 28)))
    plan_uki(stub, many(3))
    with pytest.raises(UnsupportedError, match="no room"):
        plan_uki(stub, many(20))


def test_bad_sections_are_refused(stub: Path) -> None:
    with pytest.raises(ValueError, match="twice"):
        plan_uki(stub, [text(".linux", b"1"), text(".linux", b"2")])
    with pytest.raises(ValueError, match="twice"):
        plan_uki(stub, [text(".sbat", b"1")])
    for name in ("linux", ".longname", ".", ".li\n"):
        with pytest.raises(ValueError, match="not a section name"):
            plan_uki(stub, [text(name, b"1")])
    with pytest.raises(InputError, match=r"section \.initrd would be empty"):
        plan_uki(stub, [text(".initrd", b"")])
    with pytest.raises(UnsupportedError, match="4 GiB"):
        plan_uki(stub, [Section(".initrd", Content(1 << 32))])


def test_a_profile_may_repeat_sections(stub: Path) -> None:
    base = [text(".cmdline", b"a"), text(".profile", b"ID=main"), text(".profile", b"ID=reset")]
    plan_uki(stub, [*base, text(".cmdline", b"b")])
    with pytest.raises(ValueError, match="twice"):
        plan_uki(stub, [*base, text(".cmdline", b"b"), text(".cmdline", b"c")])


def test_uki_sections_come_in_talos_order() -> None:
    some = Content.of_bytes(b"x")
    full = UkiParts("o", "c", some, some, uname="u", pcr_public_key=b"k")
    assert [section.name for section in uki_sections(full)] == [
        *(".osrel", ".cmdline", ".uname", ".pcrpkey", ".linux", ".initrd"),
    ]
    least = UkiParts("o", "c", some, some)
    assert [section.name for section in uki_sections(least)] == [
        *(".osrel", ".cmdline", ".linux", ".initrd"),
    ]


def test_os_release_is_what_boot_menus_read() -> None:
    assert os_release(version="v1.9.0", title="Talos (v1.9.0)").startswith(
        'NAME="Talos"\nID=talos\nVERSION_ID=v1.9.0\nPRETTY_NAME="Talos (v1.9.0)"\n'
    )


@pytest.mark.parametrize(
    ("version", "title"),
    [("1\nID=evil", "x"), ("1 2", "x"), ("", "x"), ("1", 'a"b'), ("1", "$a"), ("1", "a\\b")],
)
def test_os_release_has_nothing_to_escape(version: str, title: str) -> None:
    with pytest.raises(InputError, match="not allowed in a boot menu"):
        os_release(version=version, title=title)


def test_profiles_follow_the_sections_that_all_have(stub: Path) -> None:
    """UAPI.5, "UKI Profiles": each begins with .profile, and its own sections follow."""
    some = Content.of_bytes(b"some")
    reset = UkiProfile("reset", "Reset it (all)", "quiet wipe")
    parts = UkiParts("o", "quiet", some, some, profiles=(reset,))
    assert [(each.name, content_bytes(each.content)) for each in uki_sections(parts)[4:]] == [
        (".profile", b"ID=main"),
        (".profile", b"ID=reset\nTITLE=Reset it (all)"),
        (".cmdline", b"quiet wipe"),
    ]
    assert plan_uki(stub, uki_sections(parts)).size
    alone = uki_sections(replace(parts, profiles=()))
    assert [(each.name, content_bytes(each.content)) for each in alone[4:]] == [
        (".profile", b"ID=main")
    ]
    with pytest.raises(InputError, match="not allowed in a boot menu"):
        uki_sections(replace(parts, profiles=(UkiProfile("x", "a\nID=main", "c"),)))


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (b"#### LoaderInfo: systemd-stub 252.39-1~deb12u2 ####", 252),
        (b"#### LoaderInfo: systemd-stub 257.8 ####", 257),
        (b"#### LoaderInfo: systemd-boot 257.8 ####", 0),
        (b"", 0),
    ],
)
def test_the_stub_says_its_version(tmp_path: Path, said: bytes, version: int) -> None:
    (tmp_path / "stub").write_bytes(b"MZ" + bytes(100) + said + bytes(100))
    assert version_number(Content.of_file(tmp_path / "stub"), "stub") == version


def test_sections_lie_at_sectors_of_a_cd(stub: Path) -> None:
    contents = [Content.of_bytes(bytes([number]) * 700) for number in range(1, 4)]
    names = (".osrel", ".linux", ".initrd")
    parts = [Section(name, content) for name, content in zip(names, contents, strict=True)]
    image = content_bytes(plan_uki(stub, parts))
    second, third = image.index(b"\x02" * 700), image.index(b"\x03" * 700)
    assert second % 2048 == 0
    assert third == second + 2048


def test_reading_a_pe_inside_a_larger_file(stub: Path) -> None:
    disk = stub.parent / "disk"
    disk.write_bytes(bytes(5000) + pe_stub() + bytes(5000))
    inner = Content.of_file(disk).slice(5000, len(pe_stub()))
    assert content_headers(inner, name="disk").sections == read_headers(stub).sections


def test_check_pe_takes_an_application_of_the_machine(stub: Path) -> None:
    check_pe(stub, machine=AMD64, what="the stub")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin with MZ"),
        (b"#!/bin/sh\n", "does not begin with MZ"),
        (b"MZ", "not a valid PE32"),
        (patched(pe_stub(), 0x3C, b"\xff\xff\xff\x7f"), "not a valid PE32"),
        (patched(pe_stub(), PE_START, b"NE"), "signature is missing"),
        (patched(pe_stub(), OPTIONAL, b"\x0b\x01"), "not a 64-bit executable"),
        (patched(pe_stub(), PE_START + 6, b"\xff\xff"), "65535 sections"),
        (patched(pe_stub(), PE_START + 6, b"\0\0"), "0 sections"),
        (patched(pe_stub(), OPTIONAL + 36, b"\0\0\0\0"), "powers of two"),
        (patched(pe_stub(), OPTIONAL + 32, b"\x03\0\0\0"), "powers of two"),
        (patched(pe_stub(), TABLE, b"\xff"), "not a valid PE32"),
        (
            patched(patched(pe_stub(), TABLE + 16, bytes(4)), TABLE + 56, bytes(4)),
            "no section has data",
        ),
        (pe_stub()[:-100], r"section \.sbat ends at byte 2560 of 2467"),
        (patched(pe_stub(), MACHINE, b"\x64\xaa"), "is for arm64, not amd64"),
        (patched(pe_stub(), SUBSYSTEM, b"\3"), "not a UEFI application"),
    ],
)
def test_check_pe_says_what_is_wrong(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "boot.efi"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        check_pe(path, machine=AMD64, what="the boot loader")
    assert "the boot loader" in caught.value.message
    assert "boot.efi" in caught.value.message
    assert caught.value.hint


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        check_pe(tmp_path / "none.efi", machine=AMD64, what="the stub")


def test_the_stub_checksum_is_dropped(stub: Path) -> None:
    assert pe_stub()[CHECKSUM : CHECKSUM + 4] != bytes(4)
    assert content_bytes(plan_uki(stub, many(1)))[CHECKSUM : CHECKSUM + 4] == bytes(4)


def test_the_plan_writes_as_it_says(stub: Path) -> None:
    plan = plan_uki(stub, many(4))
    path = write_content(plan, stub.parent / "uki.efi")
    assert path.stat().st_size == plan.size
    assert plan.size % 512 == 0
