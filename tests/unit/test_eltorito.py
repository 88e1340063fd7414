"""Boot catalogs of ISOs: read by the specification, and damaged in every way."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.formats.eltorito import BootImage, read_boot_images
from imager.formats.iso9660.plan import BootEntry, BootPlatform, plan_iso
from imager.support.errors import InputError
from tests.lib.tools.examples import edit_count
from tests.lib.tools.support import content_bytes
from tests.lib.volumes.foreign_volumes import edited, edits

SECTOR = 2048
# "El Torito" 1.0, figures 2 to 6.
BOOTABLE, NOT_BOOTABLE, EXTENSION = 0x88, 0x00, 0x44
MORE, LAST = 0x90, 0x91
X86, EFI = 0x00, 0xEF


def validation(platform: int) -> bytes:
    entry = bytearray(struct.pack("<BB2x24sHBB", 1, platform, b"somebody", 0, 0x55, 0xAA))
    total = sum(struct.unpack("<16H", entry))
    entry[28:30] = struct.pack("<H", -total & 0xFFFF)
    return bytes(entry)


def header(indicator: int, platform: int, count: int) -> bytes:
    return struct.pack("<BBH28s", indicator, platform, count, b"section")


def image(sector: int, *, indicator: int = BOOTABLE, size: int = 0) -> bytes:
    return struct.pack("<BBHBxHI20x", indicator, 0, 0, 0, size, sector)


def extension() -> bytes:
    return struct.pack("<B31x", EXTENSION)


def iso(path: Path, *entries: bytes, catalog: int = 20) -> Path:
    """Write an ISO's descriptors, of which only those for booting count, and its catalog."""
    data = bytearray(64 * SECTOR)
    for sector, kind in ((16, 1), (17, 0), (18, 255)):
        data[sector * SECTOR : sector * SECTOR + 7] = bytes([kind]) + b"CD001\x01"
    name = b"EL TORITO SPECIFICATION".ljust(32, b"\0")
    data[17 * SECTOR + 7 : 17 * SECTOR + 39] = name
    data[17 * SECTOR + 71 : 17 * SECTOR + 75] = struct.pack("<I", catalog)
    joined = b"".join(entries)
    if catalog < 64:
        data[catalog * SECTOR : catalog * SECTOR + len(joined)] = joined
    path.write_bytes(data)
    return path


CATALOGS: dict[str, tuple[Sequence[bytes], Sequence[tuple[int, int, bool]]]] = {
    "one for UEFI": ((validation(EFI), image(30)), [(1, 30, True)]),
    "one for a BIOS": ((validation(X86), image(30)), [(1, 30, False)]),
    "one for each": (
        (validation(X86), image(30, size=4), header(LAST, EFI, 1), image(31, size=0xFFFF)),
        [(1, 30, False), (2, 31, True)],
    ),
    "sections, entries that do not boot, and extensions": (
        (
            *(validation(X86), image(30, indicator=NOT_BOOTABLE)),
            *(header(MORE, EFI, 2), image(31), extension(), extension(), image(32)),
            *(header(LAST, X86, 1), image(33), bytes(32), image(34)),
        ),
        [(2, 31, True), (3, 32, True), (4, 33, False)],
    ),
    "a section without entries": (
        (validation(X86), image(30), header(MORE, EFI, 0), header(LAST, EFI, 1), image(31)),
        [(1, 30, False), (2, 31, True)],
    ),
}


@pytest.mark.parametrize(("entries", "found"), CATALOGS.values(), ids=CATALOGS)
def test_catalogs(
    entries: Sequence[bytes], found: Sequence[tuple[int, int, bool]], tmp_path: Path
) -> None:
    assert read_boot_images(iso(tmp_path / "iso", *entries)) == tuple(
        BootImage(number, sector * SECTOR, is_efi) for number, sector, is_efi in found
    )


@pytest.mark.parametrize(
    ("entries", "catalog", "words"),
    [
        ((bytes(32),), 20, "no valid validation entry"),
        ((validation(EFI)[:-1] + b"\0", image(30)), 20, "no valid validation entry"),
        ((b"\1\1" + validation(EFI)[2:], image(30)), 20, "no valid validation entry"),
        (
            (validation(EFI), image(30), header(LAST, EFI, 0xFFFF)),
            20,
            "boot catalog is not terminated",
        ),
        ((), 64, "no valid validation entry"),
        ((), 0xFFFF_FFFF, "are outside of the volume"),
    ],
)
def test_damaged_catalogs(
    entries: Sequence[bytes], catalog: int, words: str, tmp_path: Path
) -> None:
    path = iso(tmp_path / "iso", *entries, catalog=catalog)
    with pytest.raises(InputError, match=words) as caught:
        read_boot_images(path)
    assert str(path) in caught.value.message


def test_isos_without_a_catalog(tmp_path: Path) -> None:
    plan = plan_iso(Tree.of([File("a", Content.of_bytes(b"a"))]), volume_id="X", timestamp=0)
    (tmp_path / "iso").write_bytes(content_bytes(plan.content))
    assert read_boot_images(tmp_path / "iso") == ()


def test_our_own_catalog(tmp_path: Path) -> None:
    names = ("bios.img", "efi.img")
    files = [File(name, Content.of_bytes(name.encode() * 500)) for name in names]
    entries = [
        BootEntry("bios.img", BootPlatform.BIOS, 4),
        BootEntry("efi.img", BootPlatform.EFI, 0),
    ]
    plan = plan_iso(Tree.of(files), volume_id="X", timestamp=0, boot=entries)
    (tmp_path / "iso").write_bytes(content_bytes(plan.content))
    places = {file.path: file.offset for file in plan.files}
    assert read_boot_images(tmp_path / "iso") == (
        BootImage(1, places["bios.img"], is_efi=False),
        BootImage(2, places["efi.img"], is_efi=True),
    )


@pytest.mark.fuzz
@given(edits([*range(16 * SECTOR, 19 * SECTOR), *range(20 * SECTOR, 20 * SECTOR + 512)]))
@settings(max_examples=edit_count(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_an_error_or_bounded(tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    path = iso(tmp_path / "iso", *CATALOGS["one for each"][0])
    try:
        found = read_boot_images(edited(path.read_bytes(), changes, path))
    except InputError:
        return
    assert len(found) <= 4 * SECTOR // 32
