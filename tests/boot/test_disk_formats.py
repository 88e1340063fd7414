"""Disks in the formats of clouds and hypervisors, booted by UEFI in QEMU.

The machine itself says whether it has the whole image cache, which is read out of that format.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.boot.outputs import counts, kernel_arguments
from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.machines.booting import boot
from tests.lib.machines.hardware import Drive
from tests.lib.machines.witness import DISK_ROOT, witness_line
from tests.lib.tools.cli import build, real_assets, tool

pytestmark = pytest.mark.boot


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=3, blob_size=2_000_000)


def made(folder: Path, cache: CacheFixture, **output: object) -> Path:
    """Build a disk with the fields `output` of a profile; return the file."""
    profile = folder / "profile.yaml"
    profile.write_text(json.dumps({"baseProfileName": "metal", "output": output}))
    arguments = kernel_arguments("console=ttyS0", "imager.poweroff", "pti=off")
    out = folder / "out"
    options = ("--assets", real_assets(), "--image-cache", cache.folder, "--output", out)
    build(str(profile), *options, *arguments)
    (file,) = out.iterdir()
    return file


def starts(disk: Path, disk_format: str, cache: CacheFixture) -> None:
    console = boot(Drive(disk, format=disk_format))
    assert witness_line(console) == counts(cache).ready(DISK_ROOT, "/dev/vda5")


@pytest.mark.parametrize(("disk_format", "driver"), [("qcow2", "qcow2"), ("vhd", "vpc")])
def test_a_disk_in_another_format(
    disk_format: str, driver: str, cache: CacheFixture, tmp_path: Path
) -> None:
    disk = made(tmp_path, cache, imageOptions={"diskFormat": disk_format}, outFormat="raw")
    assert disk.suffix == f".{disk_format}"
    starts(disk, driver, cache)


def test_the_disk_of_an_appliance(cache: CacheFixture, tmp_path: Path) -> None:
    ova = made(tmp_path, cache, imageOptions={"diskFormat": "ova"}, outFormat="raw")
    tool("tar", "-xf", ova, "-C", tmp_path, "disk.vmdk")
    starts(tmp_path / "disk.vmdk", "vmdk", cache)


def test_a_disk_that_is_unpacked(cache: CacheFixture, tmp_path: Path) -> None:
    packed = made(tmp_path, cache, outFormat=".xz")
    tool("xz", "-d", packed)
    starts(packed.with_suffix(""), "raw", cache)
