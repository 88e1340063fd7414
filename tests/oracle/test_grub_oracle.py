"""GRUB's image for a BIOS, against grub-mkimage, and where an ISO's says it is, against xorriso."""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

from imager.bootassets.grub import MODULES, find_bios_grub
from imager.content.extents import Content
from imager.image.bootloader.grubcore import (
    cd_core,
    core_payload,
    disk_core,
    hybrid_boot_code,
    with_hybrid_core,
)
from imager.support.arch import AMD64
from tests.lib.tools.cli import real_assets, tool
from tests.lib.tools.support import content_bytes

pytestmark = pytest.mark.oracle
PREFIX = "(,gpt3)/grub"
LZMA = {"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 20}
DECOMPRESSOR_SIZE = 2848


@pytest.fixture(scope="module")
def grub() -> Path:
    return find_bios_grub(AMD64, given=real_assets())


def mkimage(grub: Path, kind: str, prefix: str, folder: Path) -> bytes:
    image = folder / "mkimage.img"
    tool("grub-mkimage", "-O", kind, "-d", grub, "-p", prefix, "-o", image, *MODULES)
    return image.read_bytes()


@dataclass(frozen=True)
class Core:
    """An image taken apart: what stands before the LZMA stream, its sizes, what is in it.

    `ended` says whether the stream has an end marker: grub-mkimage's has none, ours has.
    """

    start: bytes
    decompressor: bytes
    redundancy: int
    payload: bytes
    ended: bool
    rest: bytes


def take_apart(core: bytes, *, start: int) -> Core:
    """Return the parts of an image; raises ValueError or LZMAError where it is damaged."""
    decompressor = core[start : start + DECOMPRESSOR_SIZE]
    compressed, size, redundancy = struct.unpack_from("<III", decompressor, 8)
    stream = core[start + DECOMPRESSOR_SIZE :][:compressed]
    rest = core[start + DECOMPRESSOR_SIZE + compressed :]
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=[LZMA])
    payload = decoder.decompress(stream)
    if len(payload) != size or len(stream) != compressed or decoder.unused_data:
        raise ValueError(f"{len(payload)} bytes, not {size}, or more behind them")
    return Core(
        core[:start], decompressor[:8] + decompressor[20:], redundancy, payload, decoder.eof, rest
    )


@pytest.mark.parametrize("prefix", [PREFIX, "/boot/grub", "/abc", "/abcd"])
def test_a_disks_image_is_that_of_grub_mkimage(grub: Path, prefix: str, tmp_path: Path) -> None:
    theirs = take_apart(mkimage(grub, "i386-pc", prefix, tmp_path), start=512)
    core = disk_core(grub, prefix=prefix, first_sector=2048)
    ours = take_apart(core, start=512)
    assert ours.payload == theirs.payload
    assert ours.decompressor == theirs.decompressor
    assert ours.redundancy == theirs.redundancy == 0
    assert ours.ended
    assert len(core) % 512 == 0
    assert not any(ours.rest)
    assert len(ours.rest) < 512
    # The block list: where the rest is, its sectors, and its segment, which grub-mkimage knows.
    assert ours.start[:500] == theirs.start[:500]
    assert struct.unpack("<QHH", ours.start[500:]) == (2049, len(core) // 512 - 1, 0x820)
    assert theirs.start[510:] == ours.start[510:]


def test_a_cds_image_is_that_of_grub_mkimage(grub: Path, tmp_path: Path) -> None:
    image = mkimage(grub, "i386-pc-eltorito", "/boot/grub", tmp_path)
    theirs = take_apart(image, start=2048 + 512)
    core = cd_core(grub, prefix="/boot/grub")
    ours = take_apart(core, start=2048 + 512)
    sectors = 2548 + 8
    assert (ours.payload, ours.decompressor) == (theirs.payload, theirs.decompressor)
    assert ours.start[:sectors] == theirs.start[:sectors]
    assert ours.start[sectors + 2 :] == theirs.start[sectors + 2 :]
    assert struct.unpack_from("<H", ours.start, sectors) == ((len(core) - 2560) // 512,)


def test_a_damaged_image_is_told_apart(grub: Path, tmp_path: Path) -> None:
    theirs = take_apart(mkimage(grub, "i386-pc", PREFIX, tmp_path), start=512)
    whole = disk_core(grub, prefix=PREFIX, first_sector=2048)
    for place in (100, 600, 520, 524, 5000, 60_000, len(whole) - 1000):
        core = bytearray(whole)
        core[place] ^= 1
        try:
            parts = take_apart(bytes(core), start=512)
        except (lzma.LZMAError, ValueError):
            continue
        wanted = (theirs.start[:500], theirs.decompressor, theirs.payload)
        same = (parts.start[:500], parts.decompressor, parts.payload) == wanted
        assert not (same and parts.ended), f"byte {place}"


def test_another_module_makes_another_image(grub: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    tool("grub-mkimage", "-O", "i386-pc", "-d", grub, "-p", "/x", "-o", image, *MODULES[:-1])
    assert take_apart(image.read_bytes(), start=512).payload != core_payload(grub, prefix="/x")


def test_an_iso_tells_its_image_where_it_is_as_xorriso_does(grub: Path, tmp_path: Path) -> None:
    """xorriso has another way to make a hybrid ISO: --grub2-mbr and --grub2-boot-info."""
    core = cd_core(grub, prefix="/boot/grub")
    (tmp_path / "tree/boot").mkdir(parents=True)
    (tmp_path / "tree/boot/a").write_bytes(bytes(100_000))
    (tmp_path / "tree/boot/core.img").write_bytes(core)
    iso = tmp_path / "theirs.iso"
    tool(
        *("xorriso", "-as", "mkisofs", "-quiet", "-o", iso),
        *("-b", "boot/core.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"),
        *("--grub2-boot-info", "--grub2-mbr", grub / "boot_hybrid.img", tmp_path / "tree"),
    )
    theirs = iso.read_bytes()
    place = theirs.find(core[64:2500]) - 64
    assert place > 0
    assert place % 2048 == 0
    # xorriso makes the MBR's 440 bytes and a partition table behind them.
    assert hybrid_boot_code(grub, place // 512) == theirs[:440]
    assert hybrid_boot_code(grub, place // 512 + 4) != theirs[:440]
    without = theirs[: place + 2548] + core[2548:2556] + theirs[place + 2556 :]
    assert without != theirs
    patched = with_hybrid_core(Content.of_bytes(without), place // 512)
    assert content_bytes(patched) == theirs
