"""`imager diff` on images that differ in known ways, and its exit codes."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from imager.app.diff import compare_images
from tests.lib.caches.caches import CacheFixture, make_flat, make_layout
from tests.lib.tools.cli import build, real_assets, run, tool
from tests.lib.volumes.cache_disks import disk_with_cache
from tests.lib.volumes.foreign_volumes import damage
from tests.oracle.test_verify_oracle import damaged

pytestmark = pytest.mark.oracle


def compared(*args: str | Path, same: bool) -> dict[str, Any]:
    done = run("diff", *args, "--json")
    assert (done.returncode, done.stderr) == (0 if same else 1, "")
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["same"] is same
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def disk(cache: CacheFixture, folder: Path) -> Path:
    return disk_with_cache(folder, cache)


def test_the_format_around_a_disk_does_not_count(disk: Path, folder: Path) -> None:
    packed = folder / "disk.qcow2"
    tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", disk, packed)
    assert compared(disk, packed, same=True)["changes"] == []
    assert run("diff", disk, packed).stdout == ""


def test_equal_images_are_compared_soon_by_structure(disk: Path, tmp_path: Path) -> None:
    """In time of the processor, without the start of Python."""
    tool("cp", "--sparse=always", disk, tmp_path / "copy.raw")
    begun = time.process_time()
    assert compare_images(str(disk), str(tmp_path / "copy.raw"), structure=True).same
    assert time.process_time() - begun < 1


def test_what_differs_is_said_by_its_meaning(
    disk: Path, folder: Path, tmp_path: Path, cache: CacheFixture
) -> None:
    other = make_layout(make_flat(tmp_path / "flat", images=1, blob_size=900), tmp_path / "layout")
    common = ("--assets", real_assets(), "--image-cache", other, "--output", tmp_path)
    more = ("--extra-kernel-arg", "console=ttyS7", "--meta", "0xc=new")
    build("metal", *common, "--out-format", "raw", *more)
    new = tmp_path / "metal-amd64.raw"
    found = compared(disk, new, same=False)
    by_kind = {(each["what"], each["field"]) for each in found["changes"]}
    assert {("META", ""), ("boot entry", "cmdline"), ("cached image", ""), ("file", "")} <= by_kind
    assert [each["new"] for each in found["changes"] if each["what"] == "META"] == [
        "key=12, value=new"
    ]
    text = run("diff", disk, new)
    assert text.returncode == 1
    assert "cmdline: -console=tty0 +console=ttyS7" in text.stdout
    blob = next(path for path in cache.files if path.startswith("blob/"))
    assert f"IMAGECACHE): {blob}  " in text.stdout
    assert "bytes differ, the first at " in text.stdout


def test_a_byte_that_means_nothing_is_found_last(disk: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.raw"
    tool("cp", "--sparse=always", disk, copy)
    offset = 20_000  # between the table and the first partition
    with damaged(copy, offset):
        found = compared(disk, copy, same=False)
        assert (found["changes"], found["firstByte"]) == ([], offset)
        compared(disk, copy, "--structure", same=True)
        first = tool("cmp", disk, copy, status=1)
        assert f" {offset + 1}," in first
    table = json.loads(tool("sfdisk", "--json", disk))["partitiontable"]["partitions"]
    start = next(each["start"] for each in table if each["name"] == "META") * 512
    with damaged(copy, start + 300_000):
        assert compared(disk, copy, same=False)["region"] == "META"


def test_container_images_and_errors(cache: CacheFixture, tmp_path: Path, disk: Path) -> None:
    one = make_layout(cache, tmp_path / "one")
    shutil.copytree(one, tmp_path / "two")
    compared(one, tmp_path / "two", same=True)
    flat = make_flat(tmp_path / "flat", images=1, blob_size=700).folder
    kinds = {each["what"] for each in compared(one, flat, same=False)["changes"]}
    assert "cached image" in kinds
    for args in ((disk, one), (disk, tmp_path / "missing")):
        assert run("diff", *args).returncode == 2


def test_a_compressed_disk_takes_few_descriptors(tmp_path: Path) -> None:
    """qcow2 compresses its clusters one by one: here more of them than files may be open."""
    raw, packed = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(b"".join(b"%04d" % number * 1024 for number in range(400)))
    options = ("-c", "-O", "qcow2", "-o", "cluster_size=4k")
    tool("qemu-img", "convert", *options, raw, packed)
    limited = ("prlimit", "--nofile=64", sys.executable, "-m", "imager")
    tool(*limited, "diff", raw, packed)
    damage(raw, 399 * 4096)
    assert "first at 1634304" in tool(*limited, "diff", raw, packed, status=1)
