"""What is on a device, where the device is a file: labels, and what strangers can write there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from imager.node.blkid import ProbedVolume, is_blank, probe
from imager.support.blockdevices import BlockDevice
from imager.support.tools import run_tool

pytestmark = pytest.mark.oracle

MIB = 1 << 20


def volume_on(path: Path) -> ProbedVolume | None:
    return probe(BlockDevice(path, path.stat().st_size))


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def make_fat(path: Path, *options: str, size: int = 4 * MIB) -> Path:
    run_tool(["mkfs.vfat", *options, sparse(path, size)], package="dosfstools")
    return path


@pytest.mark.parametrize(("bits", "size", "at"), [(12, 4, 43), (16, 32, 43), (32, 40, 71)])
def test_the_label_of_fat_is_that_of_the_root_folder(
    tmp_path: Path, bits: int, size: int, at: int
) -> None:
    path = make_fat(tmp_path / "fat", "-F", str(bits), "-n", "TALOS_V1", size=size * MIB)
    data = bytearray(path.read_bytes())
    assert data[at : at + 11] == b"TALOS_V1   "
    data[at : at + 11] = b"NO NAME    "
    path.write_bytes(data)
    volume = volume_on(path)
    assert volume and (volume.filesystem, volume.label) == ("vfat", "TALOS_V1")


def test_a_label_that_was_removed_or_is_a_file_is_none(tmp_path: Path) -> None:
    path = make_fat(tmp_path / "fat", "-n", "TALOS_V1")
    data = path.read_bytes()
    at = data.index(b"TALOS_V1   \x08")
    for byte, place in ((0xE5, at), (0x20, at + 11), (0x0F, at + 11)):
        path.write_bytes(data[:place] + bytes([byte]) + data[place + 1 :])
        volume = volume_on(path)
        assert volume and volume.label == ""


def test_fat_over_an_older_ext4_is_fat(tmp_path: Path) -> None:
    path = make_fat(tmp_path / "fat", "-F", "32", "-n", "NEW", size=40 * MIB)
    with path.open("r+b") as file:
        file.seek(1024 + 0x38)
        file.write(b"\x53\xef")
    volume = volume_on(path)
    assert volume and volume.filesystem == "vfat"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 2047, 2048, 34 << 10])
def test_what_is_too_short_or_noise_is_nothing(tmp_path: Path, size: int) -> None:
    path = tmp_path / "device"
    path.write_bytes(random.Random(size).randbytes(size))
    assert volume_on(path) is None
    assert probe(BlockDevice(path, size + 4096)) is None
    assert probe(BlockDevice(tmp_path / "gone", MIB)) is None


def test_no_content_is_worse_than_a_wrong_label(tmp_path: Path) -> None:
    noise = random.Random("volumes")
    fat = make_fat(tmp_path / "fat", "-n", "LABEL").read_bytes()
    ext4 = sparse(tmp_path / "ext4", 4 * MIB)
    run_tool(["mkfs.ext4", "-q", "-L", "LABEL", ext4], package="e2fsprogs")
    iso = bytearray(64 << 10)
    iso[32768:32775] = b"\x01CD001\x01"
    iso[32768 + 40 : 32768 + 72] = b"LABEL".ljust(32)
    iso[32768 + 128 : 32768 + 130] = b"\0\x08"
    iso[34816:34822] = b"\xffCD001"
    for original, start, end in (
        (fat, 0, 512),
        (ext4.read_bytes(), 1024, 2048),
        (bytes(iso), 32768, 36864),
    ):
        path = tmp_path / "damaged"
        path.write_bytes(original)
        volume = volume_on(path)
        assert volume and volume.label == "LABEL"
        for _ in range(300):
            data = bytearray(original[: 64 << 10])
            for _ in range(noise.randrange(1, 20)):
                data[noise.randrange(start, end)] = noise.choice((0, 1, 0x80, 0xFF))
            with path.open("r+b") as file:
                file.write(data)
            found = volume_on(path)
            assert found is None or len(found.label) <= 32


def test_a_disk_is_blank_when_its_ends_are_zeros(tmp_path: Path) -> None:
    path = sparse(tmp_path / "disk", 4 * MIB)
    device = BlockDevice(path, 4 * MIB)
    assert is_blank(device)
    for place, expected in ((0, False), (MIB - 1, False), (MIB, True), (4 * MIB - 1, False)):
        sparse(path, 4 * MIB)
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"\1")
        assert is_blank(device) is expected
    sparse(path, 4 * MIB)
    with path.open("r+b") as file:
        file.write(b"mbr")
    assert is_blank(device, beside=b"mbr")
    assert not is_blank(device, beside=b"mb")
    assert not is_blank(device)
