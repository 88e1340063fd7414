"""Outputs booted by UEFI in QEMU: the machine itself says whether it has the image cache.

What the witness must say is counted in the cache that the test made, not in what was built. Every
output on its media: `test_matrix.py`.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from tests.boot.outputs import NO_CACHE, counts, make_image
from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Device, Drive
from tests.lib.machines.kernels import direct
from tests.lib.machines.qemu import BootError
from tests.lib.machines.witness import DISK_ROOT, MEDIUM_ROOT, witness_line
from tests.lib.tools.cli import REPOSITORY, real_assets
from tests.lib.tools.other_assets import make_other_assets

pytestmark = pytest.mark.boot

DOWNLOADS = REPOSITORY / ".cache/other-debs"
KERNEL = "console=ttyS0 quiet imager.poweroff"


@pytest.fixture
def cache(tmp_path: Path) -> CacheFixture:
    """Return three images with blobs of about 2 MB each, 12 MB in all."""
    return make_flat(tmp_path / "cache", images=3, blob_size=2_000_000)


def test_a_disk_for_sectors_of_another_size_does_not_boot(tmp_path: Path) -> None:
    """The devices with sectors of 4096 bytes, on which others boot, do have them."""
    image = make_image("metal", tmp_path, "--bootloader=sd-boot")
    with pytest.raises(BootError, match=r"Not Found\n(.*\n)*.*UEFI Interactive Shell"):
        boot(Drive(image, Device.VIRTIO_4K))


def test_other_kernels_and_initramfs_boot(cache: CacheFixture, tmp_path: Path) -> None:
    assets = make_other_assets(tmp_path / "other", default=real_assets(), downloads=DOWNLOADS)
    image = make_image("metal", tmp_path, "--image-cache", cache.folder, assets=assets)
    console = boot(Drive(image))
    assert "-cloud-amd64 (debian-kernel@" in console
    assert witness_line(console) == counts(cache).ready(DISK_ROOT, "/dev/vda5")


def test_a_damaged_blob_is_noticed(cache: CacheFixture, tmp_path: Path) -> None:
    image = make_image("iso", tmp_path, "--image-cache", cache.folder)
    blob = cache.blobs[-1]
    flip_last_byte(image, blob.read_bytes())
    kernel = direct(real_assets() / "amd64", KERNEL)
    line = witness_line(boot(Drive(image, Device.CD), by=kernel))
    assert line == counts(cache).failed(MEDIUM_ROOT, "/dev/sr0", f"blob {blob.name} is damaged")


def test_without_a_cache_the_machine_says_what_it_looked_for(tmp_path: Path) -> None:
    kernel = direct(real_assets() / "amd64", KERNEL)
    image = make_image("iso", tmp_path)
    assert witness_line(boot(Drive(image, Device.CD), by=kernel)) == NO_CACHE


def flip_last_byte(image: Path, data: bytes) -> None:
    """Invert the last byte of `data` where it stands in `image`."""
    with image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        place = content.find(data)
        assert place >= 0
        content[place + len(data) - 1] ^= 0xFF
