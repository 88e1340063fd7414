"""Partition tables judged by gptfdisk and util-linux."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from imager.content.extents import Content
from imager.formats.gpt.entries import BIOS_BOOT, ESP, LEGACY_BOOT, LINUX_DATA, Partition
from imager.formats.gpt.table import backup_size, plan_gpt
from imager.support.tools import find_tool, run_tool
from tests.lib.caches.caches import flip
from tests.lib.tools.support import write_content

pytestmark = pytest.mark.oracle

MIB = 1 << 20
DISK = UUID("aaaaaaaa-bbbb-8ccc-9ddd-eeeeeeeeeeee")


def partitions(disk_size: int, sector_size: int) -> list[Partition]:
    rest = disk_size - 6 * MIB - align(backup_size(sector_size))
    return [
        Partition("EFI", ESP, UUID("11111111-1111-8111-8111-111111111111"), MIB, 4 * MIB),
        Partition("BIOS", BIOS_BOOT, UUID(int=2), 5 * MIB, MIB, LEGACY_BOOT),
        Partition("IMAGECACHE", LINUX_DATA, UUID(int=3), 6 * MIB, rest),
    ]


def align(size: int) -> int:
    return -(-size // MIB) * MIB


def write_disk(path: Path, size: int, *, sector_size: int = 512) -> Path:
    plan = plan_gpt(
        partitions(size, sector_size), disk_size=size, disk_guid=DISK, sector_size=sector_size
    )
    placed = [(0, plan.primary), (plan.backup_offset, plan.backup)]
    return write_content(Content.compose(size, placed), path)


def sgdisk_finds_it_sound(path: Path) -> bool:
    """Return whether sgdisk had nothing to say: it repairs a bad header in memory, and then is."""
    said = run_tool(["sgdisk", "-v", path], package="gdisk").decode()
    return "No problems found" in said and "corrupt" not in said


def sfdisk_table(path: Path) -> dict[str, Any]:
    """Return what sfdisk reads; ValueError where it complains, if it then takes the other copy."""
    argv: list[str | Path] = [find_tool("sfdisk", package="fdisk"), "-J", path]
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    table: dict[str, Any] = json.loads(done.stdout)["partitiontable"]
    return table


def fdisk_4k(path: Path) -> str:
    """Return what fdisk lists and complains of."""
    program = find_tool("fdisk", package="fdisk")
    columns = "Start,End,Name,UUID,Type-UUID"
    argv: list[str | Path] = [program, "-b", "4096", "-o", columns, "-l", path]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode()


SIZES = [16 * MIB, 16 * MIB + 512, 8 << 30, 3 << 40]


@pytest.mark.parametrize("size", SIZES)
def test_sgdisk_finds_no_problems(tmp_path: Path, size: int) -> None:
    assert sgdisk_finds_it_sound(write_disk(tmp_path / "disk", size))


@pytest.mark.parametrize("size", SIZES)
def test_sfdisk_reads_what_was_planned(tmp_path: Path, size: int) -> None:
    found = sfdisk_table(write_disk(tmp_path / "disk", size))
    assert found["label"] == "gpt"
    assert UUID(found["id"]) == DISK
    assert (found["firstlba"], found["lastlba"]) == (34, size // 512 - 34)
    read = [
        (p["name"], UUID(p["type"]), UUID(p["uuid"]), p["start"] * 512, p["size"] * 512)
        for p in found["partitions"]
    ]
    planned = partitions(size, 512)
    assert read == [(p.label, p.type_guid, p.guid, p.offset, p.size) for p in planned]
    assert [p.get("attrs") for p in found["partitions"]] == [None, "LegacyBIOSBootable", None]


DAMAGES = {
    "header": 512 + 60,
    "entries": 1024 + 40,
    "backup header": 16 * MIB - 512 + 60,
    "backup entries": 16 * MIB - 33 * 512 + 40,
}


@pytest.mark.parametrize("position", DAMAGES.values(), ids=DAMAGES)
def test_sgdisk_and_sfdisk_object_to_a_damaged_copy(tmp_path: Path, position: int) -> None:
    path = write_disk(tmp_path / "disk", 16 * MIB)
    assert sfdisk_table(path)
    flip(path, position)
    assert not sgdisk_finds_it_sound(path)
    with pytest.raises(ValueError, match="Expecting value"):
        sfdisk_table(path)


def test_sgdisk_objects_to_a_truncated_copy(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "disk", 16 * MIB)
    with path.open("r+b") as file:
        file.truncate(15 * MIB)
    assert not sgdisk_finds_it_sound(path)


def test_fdisk_reads_4096_byte_sectors(tmp_path: Path) -> None:
    size = 64 * MIB
    said = fdisk_4k(write_disk(tmp_path / "disk", size, sector_size=4096))
    assert f"Disk identifier: {str(DISK).upper()}" in said
    assert "corrupt" not in said
    assert "mismatch" not in said
    rows = [line.split() for line in said.splitlines()[-3:]]
    assert rows == [
        [
            str(p.offset // 4096),
            str(p.end // 4096 - 1),
            p.label,
            str(p.guid).upper(),
            str(p.type_guid).upper(),
        ]
        for p in partitions(size, 4096)
    ]


@pytest.mark.parametrize("position", [4096 + 60, 2 * 4096 + 40, 64 * MIB - 4096 + 60])
def test_fdisk_objects_to_a_damaged_copy(tmp_path: Path, position: int) -> None:
    path = write_disk(tmp_path / "disk", 64 * MIB, sector_size=4096)
    flip(path, position)
    assert "is corrupt" in fdisk_4k(path)
