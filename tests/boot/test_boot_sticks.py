"""USB sticks booted by UEFI in QEMU: ours, and those that a person makes of the ISO's contents.

The contents are taken out of the ISO by tools that go by its Joliet names, as Windows does, and
copied to FAT volumes that mkfs.vfat made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.outputs import counts, make_image
from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Device, Drive
from tests.lib.machines.kernels import direct
from tests.lib.machines.witness import MEDIUM_ROOT, witness_line
from tests.lib.tools.cli import real_assets, tool

pytestmark = pytest.mark.boot

SECTOR = 512
START = 2048 * SECTOR
SIZE = 200 << 20
NEEDED = ("EFI", "boot", "imagecache")


@pytest.fixture
def cache(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "cache", images=3, blob_size=2_000_000)


def by_bsdtar(iso: Path, folder: Path) -> None:
    tool("bsdtar", "--options", "iso9660:!rockridge", "-xf", iso, "-C", folder)


def by_7z(iso: Path, folder: Path) -> None:
    tool("7z", "x", "-y", "-x![BOOT]", f"-o{folder}", iso)


def bare(stick: Path) -> int:
    """Leave the stick without a partition table; return where its volume starts."""
    assert stick.exists()
    return 0


def with_mbr(stick: Path) -> int:
    """Give the stick the table that Windows gives it: an active partition of type 0x0c."""
    tool("sfdisk", "-q", stick, stdin=b"label: dos\n2048,,0x0c,*\n")
    return START


def make_stick(contents: Path, stick: Path, *, table: Callable[[Path], int]) -> Path:
    """Make a stick with a FAT volume labelled TALOS_1 that has the folder's contents."""
    with stick.open("wb") as file:
        file.truncate(SIZE)
    start = table(stick)
    blocks = (SIZE - start) // 1024
    place = ("--offset", str(start // SECTOR), "-h", str(start // SECTOR)) if start else ()
    tool("mkfs.vfat", "-F", "32", "-n", "TALOS_1", *place, stick, str(blocks))
    for path in sorted(contents.iterdir()):
        tool("mcopy", "-s", "-Q", "-i", f"{stick}@@{start}", path, "::/")
    return stick


def contents_of(iso: Path, folder: Path, take: Callable[[Path, Path], None]) -> Path:
    folder.mkdir()
    take(iso, folder)
    return folder


def test_a_stick_with_all_of_the_isos_contents(cache: CacheFixture, tmp_path: Path) -> None:
    """Without a partition table, and renamed as Windows does it: in the root alone."""
    iso = make_image("iso", tmp_path, "--image-cache", cache.folder)
    contents = contents_of(iso, tmp_path / "contents", by_bsdtar)
    stick = make_stick(contents, tmp_path / "stick.img", table=bare)
    write_label(stick, 71, b"NO NAME    ")
    line = witness_line(boot(Drive(stick, Device.USB)))
    assert line == counts(cache).ready(MEDIUM_ROOT, "/dev/sda")


def with_needed(iso: Path, folder: Path) -> Path:
    """Return the stick with no more of the ISO's contents than a machine needs."""
    contents = contents_of(iso, folder / "contents", by_7z)
    assert {path.name for path in contents.iterdir()} == {*NEEDED, "efi.img"}
    (contents / "efi.img").unlink()
    return make_stick(contents, folder / "stick.img", table=with_mbr)


def write_label(stick: Path, offset: int, label: bytes) -> None:
    with stick.open("r+b") as file:
        file.seek(offset)
        assert file.read(len(b"TALOS_1")) == b"TALOS_1"
        file.seek(offset)
        file.write(label)


def test_a_stick_with_the_folders_that_it_needs(cache: CacheFixture, tmp_path: Path) -> None:
    stick = with_needed(make_image("iso", tmp_path, "--image-cache", cache.folder), tmp_path)
    line = witness_line(boot(Drive(stick, Device.USB)))
    assert line == counts(cache).ready(MEDIUM_ROOT, "/dev/sda1")


def test_a_stick_whose_label_has_small_letters(cache: CacheFixture, tmp_path: Path) -> None:
    stick = with_needed(make_image("iso", tmp_path, "--image-cache", cache.folder), tmp_path)
    write_label(stick, START + 71, b"talos_1")
    write_label(stick, stick.read_bytes().index(b"TALOS_1    \x08"), b"talos_1")
    kernel = direct(real_assets() / "amd64", "console=ttyS0 quiet imager.poweroff")
    line = witness_line(boot(Drive(stick, Device.USB), by=kernel))
    assert line == (
        'imagecache: failed root=- device=/dev/sda1 blobs=0 bytes=0 reason="the volume has'
        " imagecache/, but its label is 'talos_1': it must start with TALOS_ in capitals\""
    )
