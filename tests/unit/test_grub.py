"""GRUB: where it is found, the order of its modules, what its parts must be, its menu."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from imager.bootassets import grub as grub_module
from imager.bootassets.describe import FoundAsset, take_inventory
from imager.bootassets.grub import (
    MODULES,
    bios_files,
    efi_file,
    find_bios_grub,
    find_efi_grub,
    module_order,
)
from imager.cli.assets_text import inventory_text
from imager.content.extents import Content, Data
from imager.image.bootloader.boot import MenuEntry
from imager.image.bootloader.entries import disk_entries, medium_entries
from imager.image.bootloader.grubcore import (
    cd_core,
    core_payload,
    disk_boot_code,
    disk_core,
    hybrid_boot_code,
    with_hybrid_core,
)
from imager.image.bootloader.grubmenu import (
    efi_files,
    grub_cfg,
    other_partition_cfg,
    quoted_name,
)
from imager.support.arch import AMD64, ARM64, Arch
from imager.support.errors import InputError, UnsupportedError
from imager.talos.version import TalosVersion
from tests.lib.keys.pe_stub import pe_stub
from tests.lib.tools.support import content_bytes
from tests.lib.volumes.grub_menu import Entry, Menu, parse_menu

KERNEL_CODE = b"kernel" * 50
ELF_START = b"\x7fELF\x01\x01\x01"


def make_kernel(*, kind: int = 2, machine: int = 3, address: int = 0x9000, count: int = 1) -> bytes:
    """Return a static ELF program for i386, by the fields of the System V ABI's chapter 4."""
    ident = ELF_START.ljust(16, b"\0")
    header = struct.pack(
        "<HHIIIIIHHHHHH", kind, machine, 1, 0x9000, 52, 0, 0, 52, 32, count, 40, 0, 0
    )
    size = len(KERNEL_CODE)
    segment = struct.pack("<IIIIIIII", 1, 52 + 32 * count, address, 0, size, size + 99, 7, 32)
    return ident + header + segment * count + KERNEL_CODE


def make_grub(folder: Path) -> Path:
    """Return a folder i386-pc of modules and images that are not GRUB's, but of their sizes."""
    folder.mkdir(parents=True)
    names = [*MODULES, "dep"]
    (folder / "moddep.lst").write_text("".join(f"{name}: \n" for name in names))
    for name in names:
        (folder / f"{name}.mod").write_bytes(ELF_START + name.encode())
    (folder / "kernel.img").write_bytes(make_kernel())
    (folder / "lzma_decompress.img").write_bytes(bytes(1000))
    (folder / "diskboot.img").write_bytes(bytes(500) + struct.pack("<QHH", 2, 0, 0x820))
    (folder / "cdboot.img").write_bytes(b"c" * 2048)
    (folder / "boot.img").write_bytes(b"b" * 512)
    (folder / "boot_hybrid.img").write_bytes(b"h" * 512)
    return folder


@pytest.fixture
def grub(tmp_path: Path) -> Path:
    return make_grub(tmp_path / "i386-pc")


@pytest.fixture(autouse=True)
def _no_host_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("IMAGER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(grub_module, "INSTALLED", tmp_path / "usr/lib/grub")


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_modules_come_after_what_they_need_and_once() -> None:
    text = "a: b c\nb: d\nc: d\nd:\nx: y\ny: x\n"
    assert module_order(text, ["d", "a"]) == ("d", "c", "b", "a")
    assert module_order(text, ["a"]) == ("d", "c", "b", "a")
    assert set(module_order(text, ["x"])) == {"x", "y"}


def test_module_lists_that_are_none() -> None:
    with pytest.raises(ValueError, match="no module 'z'"):
        module_order("a: z\n", ["a"])
    chain = "".join(f"m{number}: m{number + 1}\n" for number in range(2000))
    with pytest.raises(ValueError, match="a chain of more than"):
        module_order(chain, ["m0"])


def test_a_bios_needs_images_and_modules_and_efi_one_file(grub: Path) -> None:
    names = bios_files((grub / "moddep.lst").read_text())
    assert {path.name for path in grub.iterdir()} - set(names) == {"dep.mod"}
    assert efi_file(AMD64) == "x86_64-efi/monolithic/gcdx64.efi"
    assert efi_file(ARM64) == "arm64-efi/monolithic/gcdaa64.efi"


def test_the_places_where_grub_is_looked_for_in_their_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMAGER_ASSETS", str(tmp_path / "env"))
    name = "i386-pc/kernel.img"
    places = [
        "given/amd64/grub", "given/grub", "env/amd64/grub", "env/grub",
        "xdg/imager/assets/amd64/grub", "usr/lib/grub",
    ]  # fmt: skip
    for place in reversed(places):
        put(tmp_path / place / name, b"")
        given = tmp_path / "given"
        assert find_bios_grub(AMD64, given=given) == tmp_path / place / "i386-pc"
    assert find_bios_grub(AMD64) == tmp_path / places[2] / "i386-pc"


def test_efi_grub_must_be_one_of_its_architecture(tmp_path: Path) -> None:
    path = put(tmp_path / "amd64/grub" / efi_file(AMD64), pe_stub())
    assert find_efi_grub(AMD64, given=tmp_path) == path
    put(tmp_path / "arm64/grub" / efi_file(ARM64), pe_stub())
    with pytest.raises(InputError, match="GRUB"):
        find_efi_grub(ARM64, given=tmp_path)


def test_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"amd64: i386-pc/kernel.img was not found") as caught:
        find_bios_grub(AMD64, given=tmp_path)
    assert "imager assets fetch --arch amd64" in caught.value.hint
    with pytest.raises(InputError, match=r"arm64-efi/monolithic/gcdaa64.efi was not found"):
        find_efi_grub(ARM64)
    with pytest.raises(UnsupportedError, match="arm64 machines have no BIOS"):
        find_bios_grub(ARM64, given=tmp_path)


def test_the_list_of_assets_tells_grubs_versions(grub: Path, tmp_path: Path) -> None:
    put(grub / "normal.mod", b"x\0GNU GRUB  version %s\x002.06-13+deb12u2\0y")
    grub.rename(put(tmp_path / "amd64/grub/x", b"").parent / "i386-pc")
    place = tmp_path / "amd64/grub"
    put(place / efi_file(AMD64), pe_stub(symbols=b"version %s\x002.12\0"))
    efi, bios = grubs(AMD64, tmp_path)
    assert (efi.name, efi.version, efi.path) == ("grub x86_64-efi", "2.12", place / efi_file(AMD64))
    assert (bios.name, bios.version) == ("grub i386-pc", "2.06-13+deb12u2")
    assert bios.path == place / "i386-pc"
    (place / "i386-pc/normal.mod").unlink()
    _, bios = grubs(AMD64, tmp_path)
    assert bios.version is None
    lines = inventory_text(take_inventory(AMD64, given=tmp_path))
    assert any(f"  unknown version  {bios.path}" in line for line in lines)
    (missing,) = grubs(ARM64, tmp_path)
    assert missing.problem.endswith("arm64-efi/monolithic/gcdaa64.efi was not found")


def grubs(arch: Arch, place: Path) -> list[FoundAsset]:
    found = take_inventory(arch, given=place).assets
    return [asset for asset in found if asset.name.startswith("grub ")]


def test_the_payload_is_kernel_modules_and_prefix(grub: Path) -> None:
    payload = core_payload(grub, prefix="/abc")
    magic, offset, size = struct.unpack_from("<4sII", payload, len(KERNEL_CODE))
    assert payload.startswith(KERNEL_CODE)
    assert (magic, offset, size) == (b"mimg", 12, len(payload) - len(KERNEL_CODE))
    place, found = len(KERNEL_CODE) + offset, []
    while place < len(payload):
        kind, length = struct.unpack_from("<II", payload, place)
        found.append((kind, payload[place + 8 : place + length]))
        assert length % 4 == 0
        place += length
    assert found[-1] == (3, b"/abc\0\0\0\0")
    assert [data.rstrip(b"\0") for kind, data in found[:-1] if kind == 0] == [
        ELF_START + name.encode() for name in MODULES
    ]


def test_block_lists_and_sectors(grub: Path) -> None:
    core = disk_core(grub, prefix="/", first_sector=(1 << 32) + 5)
    assert len(core) % 512 == 0
    assert struct.unpack_from("<QHH", core, 500) == ((1 << 32) + 6, len(core) // 512 - 1, 0x820)
    code = disk_boot_code(grub, (1 << 32) + 5)
    assert code == b"b" * 0x5C + b"\5\0\0\0\1\0\0\0" + b"bb" + b"\x90\x90" + b"b" * (440 - 0x68)
    cd = cd_core(grub, prefix="/")
    assert cd[:2048] == b"c" * 2048
    assert struct.unpack_from("<QHH", cd, 2548) == (2, (len(cd) - 2560) // 512, 0x820)
    assert hybrid_boot_code(grub, 100) == b"h" * 0x1B0 + (104).to_bytes(8, "little")


def test_a_hybrid_isos_image_knows_its_place_and_nothing_else_changes(tmp_path: Path) -> None:
    before, after = bytes(range(256)) * 40, Data(b"x" * 4096)
    iso = Content.concat([Content.of_bytes(before), Content.of_source(after, 4096)])
    old = content_bytes(iso)
    new = content_bytes(with_hybrid_core(iso, 8))
    place = 8 * 512 + 2548
    assert new[place : place + 8] == (8 + 5).to_bytes(8, "little")
    assert new[:place] + old[place : place + 8] + new[place + 8 :] == old


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("kernel.img", b"", "not a little-endian ELF"),
        ("kernel.img", ELF_START, "ELF header is cut off"),
        ("kernel.img", make_kernel(kind=1), "not a program for i386"),
        ("kernel.img", make_kernel(machine=62), "not a program for i386"),
        ("kernel.img", make_kernel(count=2), "2 segments"),
        ("kernel.img", make_kernel(address=0x8000), "0x8000"),
        ("kernel.img", make_kernel()[:-1], "cut off"),
        ("normal.mod", b"MZ", "not a 32-bit ELF"),
        ("moddep.lst", b"normal: \xff\n", "can't decode"),
        ("moddep.lst", b"normal:\n", "no module 'biosdisk'"),
        ("diskboot.img", bytes(512), "segment 0x0"),
        ("diskboot.img", bytes(511), "511 bytes, not 512"),
        ("lzma_decompress.img", bytes(100), "100 bytes"),
        ("lzma_decompress.img", bytes(460_000), "more than 454656"),
        ("lzma_decompress.img", bytes((4 << 20) + 1), "not under"),
    ],
)
def test_files_that_are_not_grubs(grub: Path, name: str, data: bytes, reason: str) -> None:
    (grub / name).write_bytes(data)
    with pytest.raises(InputError, match=reason) as caught:
        disk_core(grub, prefix="/", first_sector=34)
    assert str(grub) in caught.value.message


def test_a_file_that_is_missing(grub: Path) -> None:
    (grub / "boot.img").unlink()
    with pytest.raises(InputError, match=r"boot\.img: .*No such file") as caught:
        disk_boot_code(grub, 1)
    assert "imager assets fetch" in caught.value.hint


VERSION = TalosVersion.parse("v1.9.0")


def menu(entries: Sequence[MenuEntry], *, default: str = "0", serial: bool = False) -> str:
    paths = ("/A/vmlinuz", "/A/initramfs.xz")
    cfg = grub_cfg(entries, default=default, kernel=paths[0], initramfs=paths[1], serial=serial)
    return cfg.decode()


def disk_menu(cmdline: str, *, serial: bool = False) -> str:
    entries = disk_entries(VERSION, cmdline)
    return menu(entries, default=quoted_name(entries[0]), serial=serial)


def test_the_menu_of_a_disk_is_one_that_a_node_can_read() -> None:
    cmdline = "talos.platform=metal console=tty0"
    wipe = "talos.experimental.wipe=system:EPHEMERAL,STATE"
    reset = "Reset Talos installation and return to maintenance mode"
    name = "A - Talos v1.9.0"
    for serial in (False, True):
        assert parse_menu(disk_menu(cmdline, serial=serial)) == Menu(
            name,
            (
                Entry(name, "/A/vmlinuz", cmdline, "/A/initramfs.xz"),
                Entry(reset, "/A/vmlinuz", f"{cmdline} {wipe}", "/A/initramfs.xz"),
            ),
        )


def test_the_menu_of_a_medium() -> None:
    text = menu(medium_entries(VERSION, "a=b"))
    assert text.startswith("set default=0\n")
    assert re.findall(r'^menuentry "(.*)" {$', text, re.MULTILINE) == [
        "Talos ISO",
        "Reset Talos installation",
    ]
    assert text.count(" talos.experimental.wipe=system\n") == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('set default="A - Talos v1.9.0"', "set default=0"),
        ('set default="A', 'set default="B'),
        ('menuentry "A', 'menuentry "C'),
        ('menuentry "A - Talos v1.9.0"', "menuentry 'A - Talos v1.9.0'"),
        ('menuentry "Reset', ' menuentry "Reset'),
        ("set timeout=3\n", 'set timeout=3\nset fallback="B"\n'),
        ("linux /A/vmlinuz", "linux '/A/vmlinuz'"),
        ("  initrd", "  linux /B/vmlinuz\n  initrd"),
        ("  initrd /A/initramfs.xz\n", ""),
        ("\\$", "$"),
        ("\\$", "\\#"),
    ],
)
def test_the_reader_of_menus_sees_what_a_node_does_not_take(old: str, new: str) -> None:
    text = disk_menu("x=$y")
    assert parse_menu(text).entries[0].cmdline == "x=$y"
    with pytest.raises(ValueError):
        parse_menu(text.replace(old, new, 1))


def test_a_serial_line_only_when_asked_for() -> None:
    with_serial, without = disk_menu("y", serial=True), disk_menu("y")
    assert "serial" not in without
    start = with_serial.index("  serial --unit=0 --speed=115200\n")
    assert start < with_serial.index("terminal_output console serial") < with_serial.index("menu")
    assert 'if [ "$grub_platform" = pc ]; then' in with_serial[:start]
    assert with_serial.index("terminal_output console\n") < start


@pytest.mark.parametrize(
    "text", ["$x", "a;b", "}", "{", "{a,b}", "b#", "`x`", "&|<>", "*?[a]", "!", "~", "%s", "(a)"]
)
def test_nothing_is_special_in_arguments(text: str) -> None:
    assert parse_menu(disk_menu(f"a={text}")).entries[0].cmdline == f"a={text}"


@pytest.mark.parametrize(
    "argument",
    ['a="b c"', "a='b'", "a\\b", "a=\\x20", "#a", "*", "*a?", "/etc/*", "/a?", "(hd0)/*", "(*)"],
)
def test_arguments_that_grub_would_change_are_refused(argument: str) -> None:
    with pytest.raises(UnsupportedError, match="cannot pass it on unchanged") as caught:
        disk_menu(f"ok {argument} ok")
    assert repr(argument.split(maxsplit=1)[0])[:-1] in caught.value.message


@pytest.mark.parametrize("argument", ["a#b", "a=/etc/*", "?", "[a]", "/etc/a", "(hd0)", "x*"])
def test_arguments_that_only_look_like_those(argument: str) -> None:
    assert parse_menu(disk_menu(argument)).entries[0].cmdline == argument


@pytest.mark.parametrize("title", ["", "a\nb", "a\x1b[1m", "a>b", 'a"b', "a'b", "$a", "a\\b", "ü"])
def test_names_that_a_node_could_misread_are_refused(title: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of an entry"):
        menu([MenuEntry("main", "x", "x", title)])


def test_the_files_of_an_esp() -> None:
    loader = Content.of_bytes(b"loader")
    files = efi_files("EFI/boot/BOOTAA64.efi", loader=loader, config=b"config").files
    assert [(file.path, content_bytes(file.content)) for file in files] == [
        ("EFI/boot/BOOTAA64.efi", b"loader"),
        ("boot/grub/grub.cfg", b"config"),
    ]
    text = other_partition_cfg(3, menu="/grub/grub.cfg").decode()
    assert text.splitlines()[1:] == ['set root="$disk,gpt3"', "configfile /grub/grub.cfg"]
