"""A partition table in use: free room, and what strangers can write there."""

from __future__ import annotations

import binascii
import random
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import pytest

from imager.content.reading import iterate_bytes
from imager.formats.gpt.edit import write_empty_table, write_table
from imager.formats.gpt.entries import LINUX_DATA, Partition
from imager.formats.gpt.read import read_gpt, read_numbered, read_table
from imager.formats.gpt.table import Range, backup_size, first_usable, plan_gpt
from imager.support.errors import InputError

MIB = 1 << 20
SIZE = 40 * MIB
DISK = UUID(int=7)


def part(number: int, offset: int, size: int) -> Partition:
    return Partition(f"P{number}", LINUX_DATA, UUID(int=number), offset, size)


def write_disk(path: Path, *partitions: Partition, sector_size: int = 512) -> Path:
    plan = plan_gpt(partitions, disk_size=SIZE, disk_guid=DISK, sector_size=sector_size)
    with path.open("wb") as file:
        file.truncate(SIZE)
        file.write(b"".join(iterate_bytes(plan.primary)))
        file.seek(plan.backup_offset)
        file.write(b"".join(iterate_bytes(plan.backup)))
    return path


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_free_ranges_lie_between_partitions_on_whole_mebibytes(
    tmp_path: Path, sector_size: int
) -> None:
    one, two = part(1, 4 * MIB, 2 * MIB + 4096), part(2, 20 * MIB, MIB)
    path = write_disk(tmp_path / "disk", two, one, sector_size=sector_size)
    table = read_table(path, sector_size)
    assert table.partitions == {1: two, 2: one}
    assert table.free_ranges() == (
        Range(MIB, 4 * MIB),
        Range(7 * MIB, 20 * MIB),
        Range(21 * MIB, 39 * MIB),
    )
    assert table.free_behind(2) == Range(one.end, 20 * MIB)
    assert table.free_behind(1) == Range(two.end, 39 * MIB)
    assert table.free_number() == 3
    assert table.usable == Range(first_usable(sector_size), SIZE - backup_size(sector_size))


def test_a_full_table_has_no_free_number(tmp_path: Path) -> None:
    parts = [part(number, MIB + number * 4096, 4096) for number in range(1, 129)]
    table = read_table(write_disk(tmp_path / "disk", *parts))
    with pytest.raises(ValueError, match="no free entry"):
        table.free_number()


@pytest.mark.parametrize(
    ("number", "offset", "size"),
    [(1, 30 * MIB, MIB), (2, 4 * MIB, MIB), (2, 3 * MIB, 2 * MIB), (2, 39 * MIB, MIB), (2, 0, MIB)],
)
def test_nothing_is_put_over_another_one(
    tmp_path: Path, number: int, offset: int, size: int
) -> None:
    table = read_table(write_disk(tmp_path / "disk", part(1, 4 * MIB, 2 * MIB)))
    with pytest.raises(ValueError, match="partition"):
        table.with_new(number, part(9, offset, size))


def test_a_partition_that_grows_keeps_every_other_byte(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "disk", part(1, MIB, MIB))
    last = SIZE // 512 - 1
    for header, array in ((1, 2), (last, last - 32)):
        change_entries(path, header=header, array=array, at=120, data=b"odd!")  # behind the label
    write_table(read_table(path).with_size(1, 3 * MIB), path)
    assert tuple(read_gpt(path).partitions.values()) == (part(1, MIB, 3 * MIB),)
    assert path.read_bytes()[1024 + 120 : 1024 + 124] == b"odd!"
    with pytest.raises(ValueError, match="is empty or outside of"):
        read_table(path).with_size(1, SIZE)


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_an_empty_table_is_sound(tmp_path: Path, sector_size: int) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(SIZE))
    write_empty_table(path, guid=DISK, sector_size=sector_size)
    assert path.read_bytes() == write_disk(tmp_path / "other", sector_size=sector_size).read_bytes()
    table = read_table(path, sector_size)
    assert not table.problem and not table.partitions


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    for data in (b"", b"short", bytes(SIZE), b"\xff" * MIB):
        path.write_bytes(data)
        with pytest.raises(InputError, match="no valid GPT"):
            read_table(path)
        assert read_numbered(path) == {}
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "none")
    assert read_numbered(tmp_path / "none") == {}


def test_damage_never_makes_another_table(tmp_path: Path) -> None:
    noise = random.Random("tables")
    path = write_disk(tmp_path / "disk", part(1, MIB, MIB), part(2, 4 * MIB, MIB))
    expected = read_table(path).partitions
    original = path.read_bytes()
    spots = [*range(446, 2048), *range(SIZE - 33 * 512, SIZE - 32 * 512), *range(SIZE - 512, SIZE)]
    for _ in range(300):
        changed = noise.sample(spots, noise.randrange(1, 6))
        write_at(path, {spot: original[spot] ^ noise.randrange(1, 256) for spot in changed})
        try:
            assert read_table(path).partitions == expected
        except InputError as error:
            assert "no valid GPT" in error.message
        assert read_numbered(path) in ({}, expected)
        write_at(path, {spot: original[spot] for spot in changed})


def change_entries(path: Path, *, header: int, array: int, at: int, data: bytes) -> None:
    """Change bytes of the array at sector `array`, and the checksums in its header."""
    disk = bytearray(path.read_bytes())
    place, start = header * 512, array * 512
    disk[start + at : start + at + len(data)] = data
    disk[place + 88 : place + 92] = crc(disk[start : start + 128 * 128])
    disk[place + 16 : place + 20] = bytes(4)
    disk[place + 16 : place + 20] = crc(disk[place : place + 92])
    path.write_bytes(disk)


def crc(data: bytearray) -> bytes:
    return binascii.crc32(data).to_bytes(4, "little")


def write_at(path: Path, changes: Mapping[int, int]) -> None:
    with path.open("r+b") as file:
        for place, byte in changes.items():
            file.seek(place)
            file.write(bytes([byte]))


def test_a_backup_inside_a_partition_does_not_count(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "disk", part(1, MIB, 4 * MIB))
    disk = bytearray(path.read_bytes())
    inside = 2 * MIB
    disk[inside : inside + 128 * 128] = disk[1024 : 1024 + 128 * 128]
    disk[SIZE - 512 + 72 : SIZE - 512 + 80] = (inside // 512).to_bytes(8, "little")
    path.write_bytes(disk)
    change_entries(path, header=SIZE // 512 - 1, array=inside // 512, at=0, data=b"")
    with pytest.raises(InputError, match="overlaps the backup"):
        read_gpt(path)
    assert read_table(path).problem
    write_table(read_table(path), path)
    assert tuple(read_gpt(path).partitions.values()) == (part(1, MIB, 4 * MIB),)
