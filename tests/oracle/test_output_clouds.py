"""Disks for Google Cloud and Azure keep the rules that these state for uploaded images.

https://cloud.google.com/compute/docs/import/import-existing-image: a tar.gz with `disk.raw` alone,
made with `--format=oldgnu`, the disk being of whole GiB.
https://learn.microsoft.com/azure/virtual-machines/linux/create-upload-generic: a fixed VHD, the
disk being of whole MiB without the footer.
"""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture
from tests.lib.tools.cli import MIB, build, tool

pytestmark = pytest.mark.oracle

GIB = 1 << 30
TAR_MAGIC, OLD_GNU = slice(257, 265), b"ustar  \0"


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("--talos-version", "v1.9.0"), 8 * GIB),
        (("--talos-version", "v1.13.0", "--image-disk-size", "12GiB"), 12 * GIB),
    ],
)
def test_google(
    options: tuple[str, ...], size: int, assets: Path, cache: CacheFixture, tmp_path: Path
) -> None:
    with_cache = ("--image-cache", cache.folder) if "--image-disk-size" in options else ()
    build("gcp", "--assets", assets, *options, *with_cache, "--output", tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.name == "gcp-amd64.raw.tar.gz"
    (member,) = tool("tar", "--numeric-owner", "-tvzf", path).splitlines()
    assert member.split()[2] == str(size)
    assert member.endswith(" disk.raw")
    with gzip.open(path) as file:
        assert file.read(512)[TAR_MAGIC] == OLD_GNU


@pytest.mark.parametrize("version", ["v1.9.0", "v1.13.0"])
def test_azure(version: str, assets: Path, cache: CacheFixture, tmp_path: Path) -> None:
    """With a cache, whose size is no whole number of anything."""
    form = ("--talos-version", version, "--out-format", "raw", "--output", tmp_path)
    build("azure", "--assets", assets, "--image-cache", cache.folder, *form)
    (path,) = tmp_path.iterdir()
    told = json.loads(tool("qemu-img", "info", "-f", "vpc", "--output=json", path))
    size = told["virtual-size"]
    assert size % MIB == 0
    assert path.stat().st_size == size + 512
    with path.open("rb") as file:
        file.seek(size)
        footer = file.read()
    cookie, file_format, data_offset = struct.unpack_from(">8s4xIQ", footer)
    original, current, kind = struct.unpack_from(">QQ4xI", footer, 40)
    assert (cookie, file_format, data_offset) == (b"conectix", 0x10000, 0xFFFFFFFFFFFFFFFF)
    assert (original, current, kind) == (size, size, 2)
