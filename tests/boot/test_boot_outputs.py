"""Outputs booted by UEFI in QEMU: the machine itself says whether it has the image cache.

What the witness must say is counted in the cache that the test made, not in what was built.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.boot.outputs import NO_CACHE, counts, make_image
from tests.lib.caches.caches import CacheFixture, make_flat, make_layout
from tests.lib.machines.boot_matrix import DISK_ROOT, MEDIUM_ROOT
from tests.lib.machines.qemu import BootError, Device, boot, witness_line
from tests.lib.tools.cli import REPOSITORY, gpt_is_sound, partitions, real_assets, tool
from tests.lib.tools.other_assets import make_other_assets

pytestmark = pytest.mark.boot

DOWNLOADS = REPOSITORY / ".cache/other-debs"

Source = Callable[[CacheFixture, Path], Path]


def flat(cache: CacheFixture, _: Path) -> Path:
    return cache.folder


def layer(cache: CacheFixture, folder: Path) -> Path:
    return make_layout(cache, folder / "layout")


def layer_of_both(cache: CacheFixture, folder: Path) -> Path:
    return make_layout(cache, folder / "layout", platforms=("amd64", "arm64"))


def gzip_layer(cache: CacheFixture, folder: Path) -> Path:
    return make_layout(cache, folder / "layout", codec="gzip")


@pytest.fixture
def cache(tmp_path: Path) -> CacheFixture:
    """Return three images with blobs of about 2 MB each, 12 MB in all."""
    return make_flat(tmp_path / "cache", images=3, blob_size=2_000_000)


@dataclass(frozen=True, slots=True)
class Case:
    """An output with its cache from `source`, seen as `device`: where the cache must be found."""

    profile: str
    device: Device
    source: Source
    root: str
    name: str


CASES = {
    "iso-layer": Case("iso", Device.VIRTIO, layer, MEDIUM_ROOT, "/dev/vda"),
    "iso-gzip": Case("iso", Device.USB, gzip_layer, MEDIUM_ROOT, "/dev/sda"),
    "disk-gzip": Case("metal", Device.VIRTIO, gzip_layer, DISK_ROOT, "/dev/vda5"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_machine_has_the_whole_cache(case: Case, cache: CacheFixture, tmp_path: Path) -> None:
    image = make_image(case.profile, tmp_path, "--image-cache", case.source(cache, tmp_path))
    line = witness_line(boot(image, case.device))
    assert line == counts(cache).ready(case.root, case.name)


def test_another_architecture(tmp_path: Path) -> None:
    """A cache of both architectures serves both; nothing of arm64 was run to make its image."""
    cache = make_flat(tmp_path / "both", images=2, blob_size=500_000, arches=("amd64", "arm64"))
    source = layer_of_both(cache, tmp_path)
    image = make_image("iso", tmp_path, "--image-cache", source, arch="arm64")
    line = witness_line(boot(image, Device.SCSI_CD, arch="arm64"))
    assert line == counts(cache).ready(MEDIUM_ROOT, "/dev/sr0")


def test_a_disk_that_is_larger_than_the_image(cache: CacheFixture, tmp_path: Path) -> None:
    """The backup of the partition table is not at the end then, as after `dd` to a disk."""
    image = make_image("metal", tmp_path, "--image-cache", flat(cache, tmp_path))
    with image.open("r+b") as file:
        file.truncate(image.stat().st_size + (1 << 30))
    assert not gpt_is_sound(image)
    line = witness_line(boot(image, Device.VIRTIO))
    assert line == counts(cache).ready(DISK_ROOT, "/dev/vda5")


def test_a_disk_for_sectors_of_another_size_does_not_boot(tmp_path: Path) -> None:
    """The devices with sectors of 4096 bytes, on which others boot, do have them."""
    image = make_image("metal", tmp_path, "--bootloader=sd-boot")
    with pytest.raises(BootError, match=r"Not Found\r\n(.*\n)*.*UEFI Interactive Shell"):
        boot(image, Device.VIRTIO_4K)


def test_other_kernels_and_initramfs_boot(cache: CacheFixture, tmp_path: Path) -> None:
    assets = make_other_assets(tmp_path / "other", default=real_assets(), downloads=DOWNLOADS)
    source = layer(cache, tmp_path)
    image = make_image("metal", tmp_path, "--image-cache", source, assets=assets)
    console = boot(image, Device.VIRTIO)
    assert "-cloud-amd64 (debian-kernel@" in console
    assert witness_line(console) == counts(cache).ready(DISK_ROOT, "/dev/vda5")


def test_a_damaged_blob_is_noticed(cache: CacheFixture, tmp_path: Path) -> None:
    image = make_image("iso", tmp_path, "--image-cache", flat(cache, tmp_path))
    blob = cache.blobs[-1]
    flip_last_byte(image, blob.read_bytes())
    reason = f"blob {blob.name} is damaged"
    assert witness_line(boot(image, Device.CD)) == counts(cache).failed(
        MEDIUM_ROOT, "/dev/sr0", reason
    )


def test_a_missing_blob_is_noticed(cache: CacheFixture, tmp_path: Path) -> None:
    image = make_image("metal", tmp_path, "--image-cache", flat(cache, tmp_path))
    blob = cache.blobs[1]
    (start,) = (part.start for part in partitions(image)[1] if part.label == "IMAGECACHE")
    tool("debugfs", "-w", "-R", f"rm /blob/{blob.name}", f"{image}?offset={start}")
    blob.unlink()
    reason = f"blob {blob.name} is missing (image registry.local_5000_/team/img0)"
    assert witness_line(boot(image, Device.VIRTIO)) == counts(cache).failed(
        DISK_ROOT, "/dev/vda5", reason
    )


def test_without_a_cache_the_machine_says_what_it_looked_for(tmp_path: Path) -> None:
    image = make_image("iso", tmp_path)
    assert witness_line(boot(image, Device.CD)) == NO_CACHE


def flip_last_byte(image: Path, data: bytes) -> None:
    """Invert the last byte of `data` where it stands in `image`."""
    with image.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        place = content.find(data)
        assert place >= 0
        content[place + len(data) - 1] ^= 0xFF
