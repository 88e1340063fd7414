"""The embedded default in a virtual machine: does its witness find caches that others made?

The kernel is started directly and mkfs.ext4, sgdisk and xorriso make the media, so that nothing
but the witness is judged.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Device, Drive
from tests.lib.machines.kernels import direct
from tests.lib.machines.witness import DISK_ROOT, MEDIUM_ROOT, witness_line
from tests.lib.tools.cli import real_assets, tool

pytestmark = pytest.mark.boot
SECTOR = 512


@pytest.fixture
def cache(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "tree/imagecache", images=1, blob_size=1_000_000)


def make_iso(cache: CacheFixture, iso: Path) -> Path:
    argv = ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "TALOS_V1_9_0", "-o"]
    tool(*argv, iso, cache.folder.parent)
    return iso


def make_disk(cache: CacheFixture, disk: Path) -> Path:
    part = disk.with_suffix(".ext4")
    tool("mkfs.ext4", "-q", "-d", cache.folder, part, "32M")
    with disk.open("wb") as file:
        file.truncate(40 << 20)
        file.seek(2048 * SECTOR)
        file.write(part.read_bytes())
    tool("sgdisk", "-n", "1:2048:+32M", "-c", "1:IMAGECACHE", disk)
    return disk


def witness(*drives: Drive, consoles: str) -> str:
    """Return the one line that the witness says on the serial console."""
    arguments = f"{consoles} quiet imager.poweroff"
    return witness_line(boot(*drives, by=direct(real_assets() / "amd64", arguments)))


def ready(cache: CacheFixture, root: str, device: str) -> str:
    size = sum(path.stat().st_size for path in cache.blobs)
    count = len(cache.blobs)
    return f"imagecache: ready root={root} device={device} blobs={count} bytes={size} images=1"


def test_a_partition_is_found_by_its_label_and_goes_before_a_medium(
    cache: CacheFixture, tmp_path: Path
) -> None:
    disk, iso = make_disk(cache, tmp_path / "disk.raw"), make_iso(cache, tmp_path / "cache.iso")
    line = witness(Drive(iso, Device.CD), Drive(disk), consoles="console=ttyS0")
    assert line == ready(cache, DISK_ROOT, "/dev/vda1")


def test_a_cd_is_found_by_its_volume_id_and_said_on_every_console(
    cache: CacheFixture, tmp_path: Path
) -> None:
    iso = make_iso(cache, tmp_path / "cache.iso")
    line = witness(Drive(iso, Device.CD), consoles="console=ttyS0 console=tty0")
    assert line == ready(cache, MEDIUM_ROOT, "/dev/sr0")


def test_a_stick_of_ventoy_is_told(tmp_path: Path) -> None:
    """Its second partition is FAT16 and called VTOYEFI; the first one, exFAT, has the ISO."""
    disk = tmp_path / "ventoy.img"
    with disk.open("wb") as file:
        file.truncate(128 << 20)
    tool("sfdisk", "-q", disk, stdin=b"label: dos\n2048,131072,7,*\n133120,65536,0xef\n")
    argv = ["mkfs.vfat", "-F", "16", "-n", "VTOYEFI", "--offset", "133120"]
    tool(*argv, disk, str(65536 // 2))
    line = witness(Drive(disk, Device.USB), consoles="console=ttyS0")
    assert line == (
        'imagecache: failed root=- device=- blobs=0 bytes=0 reason="started by Ventoy, which keeps'
        " the ISO's image cache out of sight: write the ISO itself to a stick with dd, or make one"
        ' with --output-kind usb"'
    )
