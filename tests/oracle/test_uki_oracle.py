"""Unified kernel images judged by binutils and pefile."""

from __future__ import annotations

import random
from pathlib import Path

import pefile
import pytest

from imager.content.extents import Content
from imager.efi.uki import plan_uki
from imager.efi.uki_sections import UkiParts, os_release, uki_sections
from imager.support.errors import DependencyError
from imager.support.tools import run_tool
from tests.lib.keys.pe_stub import PE_START, SBAT, TEXT, pe_stub
from tests.lib.tools.support import write_content

pytestmark = pytest.mark.oracle

KERNEL = random.Random(1).randbytes(300_001)
INITRAMFS = random.Random(2).randbytes(700_013)
EXPECTED = {
    ".text": TEXT,
    ".sbat": SBAT,
    ".osrel": os_release(version="v1.9.0", title="Talos").encode(),
    ".cmdline": b"talos.platform=metal console=ttyS0",
    ".uname": b"6.12.5-talos",
    ".pcrpkey": b"-----BEGIN PUBLIC KEY-----\n",
    ".linux": KERNEL,
    ".initrd": INITRAMFS,
}


@pytest.fixture(params=[0x400, 0x200], ids=["room in the headers", "headers grow"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    stub, kernel, initramfs = (tmp_path / name for name in ("stub.efi", "vmlinuz", "initramfs.xz"))
    stub.write_bytes(pe_stub(header_size=request.param))
    kernel.write_bytes(KERNEL)
    initramfs.write_bytes(INITRAMFS)
    parts = UkiParts(
        os_release=os_release(version="v1.9.0", title="Talos"),
        cmdline="talos.platform=metal console=ttyS0",
        kernel=Content.of_file(kernel),
        initramfs=Content.of_file(initramfs),
        uname="6.12.5-talos",
        pcr_public_key=b"-----BEGIN PUBLIC KEY-----\n",
    )
    return write_content(plan_uki(stub, uki_sections(parts)), tmp_path / "uki.efi")


def dumped(image: Path, name: str) -> bytes:
    """Return the contents of a section as objcopy dumps them."""
    target = image.parent / "section.bin"
    argv: list[str | Path] = [
        "objcopy",
        f"--dump-section={name}={target}",
        image,
        image.parent / "copy.efi",
    ]
    run_tool(argv, package="binutils")
    return target.read_bytes()


def test_objdump_lists_the_sections_in_order(image: Path) -> None:
    lines = run_tool(["objdump", "-h", image], package="binutils").decode().splitlines()
    rows = [line.split() for line in lines if line.lstrip()[:1].isdigit()]
    assert [(row[1], int(row[2], 16)) for row in rows] == [
        (name, len(data)) for name, data in EXPECTED.items()
    ]


def test_objcopy_dumps_every_section_byte_for_byte(image: Path) -> None:
    for name, data in EXPECTED.items():
        assert dumped(image, name) == data, name


def test_pefile_reads_every_section_and_warns_of_nothing(image: Path) -> None:
    with pefile.PE(str(image)) as parsed:
        assert not parsed.get_warnings()
        found = {
            section.Name.rstrip(b"\0").decode(): section.get_data()[: section.Misc_VirtualSize]
            for section in parsed.sections
        }
    assert found == EXPECTED


def test_binutils_object_to_damaged_copies(image: Path) -> None:
    whole = image.read_bytes()
    image.write_bytes(whole[:PE_START] + b"XX" + whole[PE_START + 2 :])
    with pytest.raises(DependencyError, match="objdump failed"):
        run_tool(["objdump", "-h", image], package="binutils")
    image.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DependencyError, match="objcopy failed"):
        dumped(image, ".initrd")
    image.write_bytes(whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:])
    assert dumped(image, ".initrd") != INITRAMFS
