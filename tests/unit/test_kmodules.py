from __future__ import annotations

import contextlib
import lzma
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.distro.kmodules import KernelModule, load_order, modinfo, module_name, read_module
from imager.support.errors import DependencyError

NONE: frozenset[str] = frozenset()


def elf(modinfo_section: bytes) -> bytes:
    """Return an ELF64 file of sections null, .modinfo and .shstrtab (System V ABI, chapter 4)."""
    names = b"\0.modinfo\0.shstrtab\0"
    table = 64 + len(modinfo_section) + len(names)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    sections = bytes(64)
    start = 64
    for name, data in ((1, modinfo_section), (10, names)):
        sections += struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, start, len(data), 0, 0, 1, 0)
        start += len(data)
    return ident + header + modinfo_section + names + sections


EXT4 = elf(
    b"license=GPL\0softdep=pre: crc32c-x post: other\0depends=mbcache,jbd2,crc16\0\0name=ext4\0"
)


def module(name: str, *depends: str, soft: tuple[str, ...] = ()) -> KernelModule:
    return KernelModule(name, Path(f"{name}.ko"), depends, soft)


def order_of(
    wanted: list[str], *modules: KernelModule, builtin: frozenset[str] = NONE
) -> list[str]:
    found = load_order(wanted, {m.name: m for m in modules}, builtin=builtin)
    return [m.name for m in found]


def test_modinfo_lists_every_value_of_a_key() -> None:
    info = modinfo(elf(b"author=A\0author=B\0alias=pci:*\0novalue\0empty=\0"))
    assert info == {"author": ["A", "B"], "alias": ["pci:*"], "empty": [""]}


def test_a_module_file_names_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "ext4.ko"
    path.write_bytes(EXT4)
    assert read_module(path) == KernelModule(
        "ext4", path, ("mbcache", "jbd2", "crc16"), ("crc32c_x",)
    )


def test_a_compressed_module_is_read_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "usb-storage.ko.xz"
    path.write_bytes(lzma.compress(EXT4))
    found = read_module(path)
    assert found.name == "usb_storage"
    assert found.depends == ("mbcache", "jbd2", "crc16")
    assert found.read() == EXT4


def test_a_name_is_the_same_however_it_is_written() -> None:
    assert module_name("kernel/drivers/usb/storage/usb-storage.ko") == "usb_storage"
    assert module_name("xhci-pci") == module_name("xhci_pci.ko.xz") == "xhci_pci"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        EXT4[:-1],
        EXT4[:70],
        b"\x7fELF\x01\x01" + EXT4[6:],
        EXT4.replace(b".modinfo", b".nothing"),
        EXT4[:0x3C] + b"\xff\xff" + EXT4[0x3E:],
        EXT4[:0x3E] + b"\x09\x00" + EXT4[0x40:],
        EXT4[:-128] + EXT4[-128:].replace(struct.pack("<Q", 64), struct.pack("<Q", 1 << 60)),
    ],
)
def test_a_damaged_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.ko"
    path.write_bytes(data)
    with pytest.raises(DependencyError, match="not a kernel module"):
        read_module(path)


@given(st.integers(0, len(EXT4) - 1), st.binary(min_size=1, max_size=8))
def test_no_damage_gets_past_as_another_error(at: int, patch: bytes) -> None:
    data = EXT4[:at] + patch + EXT4[at + len(patch) :]
    with contextlib.suppress(ValueError):
        modinfo(data)


def test_what_a_module_needs_is_loaded_before_it() -> None:
    ext4 = module("ext4", "jbd2", "mbcache", soft=("crc32c_generic",))
    others = [module("jbd2", "crc16"), module("crc16"), module("mbcache"), module("crc32c_generic")]
    assert order_of(["ext4", "crc16"], ext4, *others) == [
        "crc32c_generic",
        "crc16",
        "jbd2",
        "mbcache",
        "ext4",
    ]


def test_builtin_and_optional_modules_need_not_be_there() -> None:
    sd = module("sd_mod", "scsi_mod", soft=("absent",))
    wanted = ["virtio_pci", "ata_piix?", "sd-mod"]
    assert order_of(wanted, sd, builtin=frozenset({"virtio_pci", "scsi_mod"})) == ["sd_mod"]


def test_a_missing_module_is_an_error_that_names_it() -> None:
    with pytest.raises(DependencyError, match="no module ext4"):
        order_of(["ext4"])
    with pytest.raises(DependencyError, match="ext4 needs jbd2"):
        order_of(["ext4"], module("ext4", "jbd2"))


def test_a_circle_is_an_error() -> None:
    with pytest.raises(DependencyError, match="depends on itself"):
        order_of(["a"], module("a", "b"), module("b", "a"))
