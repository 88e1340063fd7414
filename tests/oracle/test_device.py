"""Images written straight to disks: loop devices with stale bytes; cmp, sgdisk and mount judge.

Needs root.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imager.content.extents import Content, Data, Extent, FileRange
from imager.content.reading import read_content
from imager.image.device import find_device, open_device, write_device
from imager.image.errors import UnsuitableDeviceError
from imager.support.errors import OutputError
from tests.lib.machines.loop_devices import loop_device
from tests.lib.tools.cli import MIB, build, run, synthetic_assets, tool

pytestmark = [pytest.mark.oracle, pytest.mark.root]
SIZE = 8 * MIB


@contextmanager
def stale_disk(folder: Path, size: int = SIZE, *, sector_size: int = 512) -> Iterator[Path]:
    """Yield a disk that is full of other bytes."""
    image = folder / f"disk-{size}-{sector_size}.img"
    image.write_bytes(random.Random(7).randbytes(size))
    with loop_device(image, sector_size, is_scanned=False) as path:
        yield path


def written(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return b"".join(iter(lambda: file.read(MIB), b""))


def content(folder: Path) -> Content:
    """Return an image of odd sizes: bytes, a hole, a sparse file, and a hole at the end."""
    source = folder / "source"
    with source.open("wb") as file:
        file.write(b"s" * 10_000)
        file.seek(2 * MIB)
        file.write(b"t" * 777)
    length = source.stat().st_size
    extents = (
        Extent(0, 1000, Data(b"h" * 1000)),
        Extent(100_001, length, FileRange(source)),
        Extent(4 * MIB + 3, 5, Data(b"abcde")),
    )
    return Content(5 * MIB + 512, extents)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_the_disk_is_the_image_and_old_tables_are_gone(tmp_path: Path, sector_size: int) -> None:
    image = content(tmp_path)
    seen: list[int] = []
    with stale_disk(tmp_path, sector_size=sector_size) as path:
        device = find_device(path, size=image.size, sector_size=sector_size)
        assert (device.size, device.sector_size) == (SIZE, sector_size)
        with open_device(device) as disk:
            write_device(image, disk, device, checks=(), progress=seen.append)
        found = written(path)
    assert found[: image.size] == read_content(image)
    assert found[-MIB:] == bytes(MIB)
    assert found[image.size : -MIB].count(0) < (SIZE - image.size) // 100
    assert sum(seen) == image.data_size


def test_a_disk_that_is_mounted_is_not_touched(tmp_path: Path) -> None:
    image = tmp_path / "volume.img"
    image.write_bytes(bytes(SIZE))
    tool("mkfs.ext4", "-q", "-F", image)
    target = tmp_path / "mounted"
    target.mkdir()
    with loop_device(image, is_scanned=False) as path:
        tool("mount", path, target)
        try:
            with pytest.raises(UnsuitableDeviceError, match="is in use: it or one of its"):
                find_device(path, size=MIB, sector_size=None)
        finally:
            tool("umount", target)


def test_what_an_image_cannot_be_written_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for path, words in [(file, "is not a disk"), (tmp_path / "absent", "cannot open")]:
        with pytest.raises(UnsuitableDeviceError, match=words):
            find_device(path, size=0, sector_size=None)
    with stale_disk(tmp_path) as path:
        with pytest.raises(UnsuitableDeviceError, match=r"too small for an image of 8\.0 MiB"):
            find_device(path, size=SIZE + 1, sector_size=None)
        with pytest.raises(UnsuitableDeviceError, match="sectors of 512 bytes, the image has 4096"):
            find_device(path, size=MIB, sector_size=4096)
    read_only = tmp_path / "read-only"
    read_only.write_bytes(bytes(SIZE))
    with (
        loop_device(read_only, read_only=True, is_scanned=False) as path,
        pytest.raises(UnsuitableDeviceError, match="write-protected"),
    ):
        find_device(path, size=MIB, sector_size=None)


def test_a_partition_is_not_a_disk(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(SIZE))
    tool("sgdisk", "-n", "1:2048:+2M", image)
    with loop_device(image) as path, pytest.raises(UnsuitableDeviceError, match="p1 is a part"):
        find_device(Path(f"{path}p1"), size=MIB, sector_size=None)


def test_a_disk_that_forgets_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a counterfeit stick does: it takes all bytes, and returns others."""
    image = content(tmp_path)
    pread = os.pread

    def forgetful(descriptor: int, length: int, offset: int) -> bytes:
        found = pread(descriptor, length, offset)
        is_disk = os.fstat(descriptor).st_rdev != 0
        return bytes(len(found)) if is_disk and offset > MIB else found

    with stale_disk(tmp_path) as path:
        device = find_device(path, size=image.size, sector_size=512)
        monkeypatch.setattr(os, "pread", forgetful)
        with (
            open_device(device) as disk,
            pytest.raises(OutputError, match=r"returns other bytes .* between byte 2"),
        ):
            write_device(image, disk, device, checks=(), progress=lambda _: None)


def test_an_iso_from_the_command_line(tmp_path: Path) -> None:
    assets = synthetic_assets(tmp_path / "assets")
    options = ("--assets", assets, "--output", tmp_path)
    build("iso", *options)
    iso = (tmp_path / "metal-amd64.iso").read_bytes()
    with stale_disk(tmp_path, 64 * MIB) as path:
        refused = run("iso", *options, "--output-device", path)
        assert refused.returncode == 2
        assert f"everything on {path} (unknown model, 64 MiB) would be lost" in refused.stderr
        assert written(path)[: len(iso)] != iso
        done = run("iso", *options, "--output-device", path, "--yes")
        assert done.returncode == 0, done.stderr
        assert written(path)[: len(iso)] == iso
        planned = run("iso", *options, "--output-device", path, "--dry-run")
        assert f"disk             {path} (unknown model, 64 MiB)\n" in planned.stdout
        assert "space" not in planned.stdout
        plan = build("iso", *options, "--output-device", path, "--dry-run")
        assert plan["device"] == {
            "path": str(path), "size": 64 * MIB, "sectorSize": 512, "model": ""
        }  # fmt: skip
        assert plan["spaceFree"] is None
