"""Every output, booted by UEFI in QEMU: the machine itself says whether it has the image cache.

What the witness must say is counted in the cache that the test made, not in what was built.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.caches import CacheFixture, make_flat, make_layout
from tests.cli import REPOSITORY, build, partitions, real_assets, tool
from tests.other_assets import make_other_assets
from tests.qemu import Device, boot, witness_line

pytestmark = pytest.mark.boot

DISK_ROOT = "/system/imagecache/disk"
ISO_ROOT = "/system/imagecache/iso/imagecache"
CONSOLE = ("--extra-kernel-arg", "console=ttyS0", "--extra-kernel-arg", "imager.poweroff")
NO_CACHE = (
    'imagecache: failed root=- device=- blobs=0 bytes=0 reason="no image cache found: no'
    ' partition labelled IMAGECACHE and no TALOS_ volume with imagecache/"'
)
DOWNLOADS = REPOSITORY / ".cache/other-debs"

Source = Callable[[CacheFixture, Path], Path]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a cache holds: files, and bytes of its blobs."""

    blobs: int
    size: int
    images: int

    def ready(self, root: str, device: str) -> str:
        """Return the line that the witness must say of the whole cache."""
        return (
            f"imagecache: ready root={root} device={device}"
            f" blobs={self.blobs} bytes={self.size} images={self.images}"
        )

    def failed(self, root: str, device: str, reason: str) -> str:
        """Return the line that the witness must say when `reason` is what is wrong."""
        return (
            f"imagecache: failed root={root} device={device}"
            f' blobs={self.blobs} bytes={self.size} reason="{reason}"'
        )


def counts(cache: CacheFixture) -> Counts:
    blobs = [path.stat().st_size for path in (cache.folder / "blob").iterdir()]
    images = list((cache.folder / "manifests").glob("**/reference/*"))
    return Counts(len(blobs), sum(blobs), len(images))


def flat(cache: CacheFixture, _: Path) -> Path:
    return cache.folder


def layer(cache: CacheFixture, folder: Path) -> Path:
    return make_layout(cache, folder / "layout")


def gzip_layer(cache: CacheFixture, folder: Path) -> Path:
    return make_layout(cache, folder / "layout", codec="gzip")


@pytest.fixture
def cache(tmp_path: Path) -> CacheFixture:
    """Return three images with blobs of about 2 MB each, 12 MB in all."""
    return make_flat(tmp_path / "cache", images=3, blob_size=2_000_000)


def make_image(profile: str, folder: Path, *more: str | Path, assets: Path | None = None) -> Path:
    options = ("--assets", assets or real_assets(), "--output", folder, "--out-format", "raw")
    done = build(profile, *options, *CONSOLE, *more)
    return Path(done["output"])


@dataclass(frozen=True, slots=True)
class Case:
    """An output with its cache from `source`, seen as `device`: where the cache must be found."""

    profile: str
    device: Device
    source: Source
    root: str
    name: str


CASES = {
    "iso-cd-flat": Case("iso", Device.CD, flat, ISO_ROOT, "/dev/sr0"),
    "iso-disk-layer": Case("iso", Device.VIRTIO, layer, ISO_ROOT, "/dev/vda"),
    "iso-usb-gzip": Case("iso", Device.USB, gzip_layer, ISO_ROOT, "/dev/sda"),
    "disk-gzip": Case("metal", Device.VIRTIO, gzip_layer, DISK_ROOT, "/dev/vda3"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_machine_has_the_whole_cache(case: Case, cache: CacheFixture, tmp_path: Path) -> None:
    image = make_image(case.profile, tmp_path, "--image-cache", case.source(cache, tmp_path))
    line = witness_line(boot(image, case.device))
    assert line == counts(cache).ready(case.root, case.name)


def test_other_kernels_and_initramfs_boot(cache: CacheFixture, tmp_path: Path) -> None:
    assets = make_other_assets(tmp_path / "other", default=real_assets(), downloads=DOWNLOADS)
    source = layer(cache, tmp_path)
    image = make_image("metal", tmp_path, "--image-cache", source, assets=assets)
    console = boot(image, Device.VIRTIO)
    assert "-cloud-amd64 (debian-kernel@" in console
    assert witness_line(console) == counts(cache).ready(DISK_ROOT, "/dev/vda3")


def test_a_damaged_blob_is_noticed(cache: CacheFixture, tmp_path: Path) -> None:
    image = make_image("iso", tmp_path, "--image-cache", flat(cache, tmp_path))
    blob = cache.blobs[-1]
    flip_last_byte(image, blob.read_bytes())
    reason = f"blob {blob.name} is damaged"
    assert witness_line(boot(image, Device.CD)) == counts(cache).failed(
        ISO_ROOT, "/dev/sr0", reason
    )


def test_a_missing_blob_is_noticed(cache: CacheFixture, tmp_path: Path) -> None:
    image = make_image("metal", tmp_path, "--image-cache", flat(cache, tmp_path))
    blob = cache.blobs[1]
    (start,) = (part.start for part in partitions(image)[1] if part.label == "IMAGECACHE")
    tool("debugfs", "-w", "-R", f"rm /blob/{blob.name}", f"{image}?offset={start}")
    blob.unlink()
    reason = f"blob {blob.name} is missing (image registry.local_5000_/team/img0)"
    assert witness_line(boot(image, Device.VIRTIO)) == counts(cache).failed(
        DISK_ROOT, "/dev/vda3", reason
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
