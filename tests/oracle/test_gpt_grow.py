"""A table on a disk that is larger than its image, moved to the end: judged by sgdisk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imager.formats.gpt.edit import write_table
from imager.formats.gpt.read import read_gpt, read_table
from imager.support.errors import InputError
from tests.lib.caches.caches import flip
from tests.lib.tools.cli import tool
from tests.oracle.test_gpt_oracle import MIB, sfdisk_table, sgdisk_finds_it_sound, write_disk

pytestmark = pytest.mark.oracle

SIZE = 64 * MIB
LARGER = 200 * MIB + 512


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = write_disk(tmp_path / "disk", SIZE)
    os.truncate(path, LARGER)
    return path


def test_the_rest_of_the_disk_becomes_usable(disk: Path) -> None:
    original = write_disk(disk.with_name("before"), SIZE)
    before = sfdisk_table(original)
    assert not sgdisk_finds_it_sound(disk)
    table = read_table(disk)
    assert (table.disk_size, table.gained) == (LARGER, LARGER - SIZE)
    assert table.problem
    write_table(table, disk)
    assert sgdisk_finds_it_sound(disk)
    # UEFI 2.10, 5.2.3: SizeInLBA of the protective MBR.
    assert int.from_bytes(disk.read_bytes()[458:462], "little") == LARGER // 512 - 1
    after = sfdisk_table(disk)
    assert after["lastlba"] == LARGER // 512 - 34
    assert after["partitions"] == [
        {**each, "node": each["node"].replace(str(original), str(disk))}
        for each in before["partitions"]
    ]
    assert {key: after[key] for key in ("id", "firstlba", "sectorsize")} == {
        key: before[key] for key in ("id", "firstlba", "sectorsize")
    }
    assert read_gpt(disk).disk_size == LARGER
    # Nothing is left to be done.
    data, table = disk.read_bytes(), read_table(disk)
    assert (table.problem, table.gained) == ("", 0)
    write_table(table, disk)
    assert disk.read_bytes() == data
    # What is gained can be used.
    subprocess.run(["sgdisk", "-n", "0:0:0", disk], check=True, capture_output=True)
    assert sgdisk_finds_it_sound(disk)


def test_numbers_of_partitions_stay(disk: Path) -> None:
    """Also where an entry between others is empty."""
    subprocess.run(["sgdisk", "-e", "-d", "2", disk], check=True, capture_output=True)
    os.truncate(disk, LARGER + MIB)
    write_table(read_table(disk), disk)
    assert sgdisk_finds_it_sound(disk)
    nodes = [each["node"][-1] for each in sfdisk_table(disk)["partitions"]]
    assert nodes == ["1", "3"]


def test_sectors_of_4096_bytes(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "disk", SIZE, sector_size=4096)
    os.truncate(path, LARGER)
    table = read_table(path, 4096)
    assert table.gained == LARGER - 512 - SIZE
    write_table(table, path)
    os.truncate(path, LARGER - 512)
    assert read_gpt(path, 4096).disk_size == LARGER - 512


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_power_cut_leaves_a_sound_table(
    disk: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    done = 0
    write = os.pwrite

    def cut(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal done
        if done == writes:
            raise KeyboardInterrupt
        done += 1
        return write(descriptor, data, offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", cut)
        with pytest.raises(KeyboardInterrupt):
            write_table(read_table(disk), disk)
    # The kernel and firmware take the primary one.
    assert tool("partx", "-s", "-g", "-o", "NR", disk).split() == ["1", "2", "3"]
    write_table(read_table(disk), disk)
    assert sgdisk_finds_it_sound(disk)
    assert read_gpt(disk).disk_size == LARGER


@pytest.mark.parametrize("position", [512, 512 + 16, 512 + 32, 1024 + 3])
def test_a_damaged_table_is_not_moved(disk: Path, position: int) -> None:
    flip(disk, position)
    data = disk.read_bytes()
    with pytest.raises(InputError, match="no valid GPT"):
        read_table(disk)
    assert disk.read_bytes() == data


def test_a_disk_that_is_too_small_is_told(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "disk", SIZE)
    os.truncate(path, SIZE - MIB)
    with pytest.raises(InputError, match="the table describes a disk of 67108864 bytes"):
        read_table(path)
    path.write_bytes(b"short")
    with pytest.raises(InputError, match="no valid GPT"):
        read_table(path)
