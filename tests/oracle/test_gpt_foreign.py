"""Partition tables of other shapes than ours: made and judged by sgdisk, sfdisk and xorriso."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from imager.formats.gpt.edit import write_table
from imager.formats.gpt.entries import ESP, LINUX_DATA, Partition
from imager.formats.gpt.read import read_gpt, read_numbered, read_table
from imager.formats.partitions import HEAD, find_partitions
from tests.lib.caches.caches import flip
from tests.lib.tools.cli import MIB, tool
from tests.lib.volumes.foreign_volumes import write_tree
from tests.oracle.test_gpt_oracle import sfdisk_table, sgdisk_finds_it_sound

pytestmark = pytest.mark.oracle

SIZE = 64 * MIB
ONE, TWO = UUID(int=1), UUID(int=2)
PARTS = (
    Partition("EFI", ESP, ONE, 4 * MIB, 8 * MIB),
    Partition("STATE", LINUX_DATA, TWO, 12 * MIB, 4 * MIB),
)


def with_sgdisk(*options: str) -> Callable[[Path], None]:
    """Return what makes a table with the two partitions, and changes it by `options`."""

    def make(disk: Path) -> None:
        parts = [
            word
            for number, part in enumerate(PARTS, start=1)
            for word in (
                f"-n{number}:{part.offset // 512}:{part.end // 512 - 1}",
                f"-t{number}:{part.type_guid}",
                f"-u{number}:{part.guid}",
                f"-c{number}:{part.label}",
            )
        ]
        # A table is made large before it has partitions, since it grows at the start of the disk.
        tool("sgdisk", "-o", *options, *parts, disk)

    return make


def with_sfdisk(disk: Path) -> None:
    """Make a table that has room for four partitions."""
    lines = [
        f"start={part.offset // 512}, size={part.size // 512}, type={part.type_guid}, "
        f"uuid={part.guid}, name={part.label}"
        for part in PARTS
    ]
    script = "\n".join(["label: gpt", "table-length: 4", "first-lba: 2048", *lines])
    tool("sfdisk", disk, stdin=script.encode())


TABLES = {
    "248 entries": with_sgdisk("-S248"),
    "1024 entries": with_sgdisk("-S1024"),
    "4 entries": with_sfdisk,
    "a primary array that was moved": with_sgdisk("-j2048"),
}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, SIZE)
    return path


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_every_reader_takes_it(make: Callable[[Path], None], disk: Path) -> None:
    make(disk)
    assert sgdisk_finds_it_sound(disk)
    assert tuple(read_gpt(disk).partitions.values()) == PARTS
    assert tuple(read_numbered(disk).values()) == PARTS
    table = read_table(disk)
    assert tuple(table.partitions.values()) == PARTS
    assert not table.problem
    # The usable range is that of sgdisk and sfdisk, which read the header.
    told = sfdisk_table(disk)
    first, last = told["firstlba"], told["lastlba"]
    assert (table.usable.start, table.usable.end) == (first * 512, (last + 1) * 512)


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_a_larger_disk_is_used_and_an_entry_added(make: Callable[[Path], None], disk: Path) -> None:
    make(disk)
    before = disk.read_bytes()[: 4 * MIB]
    entries = tool("sgdisk", "-p", disk).split("holds up to ")[1].split()[0]
    os.truncate(disk, 2 * SIZE)
    table = read_table(disk)
    assert table.gained == SIZE
    new = Partition("IMAGECACHE", LINUX_DATA, UUID(int=3), SIZE, 8 * MIB)
    write_table(table.with_new(3, new), disk)
    assert sgdisk_finds_it_sound(disk)
    assert tuple(read_gpt(disk).partitions.values()) == (*PARTS, new)
    # Only the MBR, headers and arrays were written: gaps between them are another's.
    after = disk.read_bytes()[: 4 * MIB]
    sectors = range(0, 4 * MIB, 512)
    changed = {at // 512 for at in sectors if before[at : at + 512] != after[at : at + 512]}
    assert changed <= {0, 1, 2, 2048}
    assert tool("sgdisk", "-p", disk).split("holds up to ")[1].split()[0] == entries
    # A damaged primary table is made again from the backup.
    flip(disk, 512 + 20)
    mended = read_table(disk)
    assert mended.problem
    write_table(mended, disk)
    assert tuple(read_gpt(disk).partitions.values()) == (*PARTS, new)


def test_a_full_small_table_has_no_free_number(disk: Path) -> None:
    with_sfdisk(disk)
    table = read_table(disk)
    for number in (3, 4):
        assert table.free_number() == number
        start = SIZE // 2 + number * MIB
        table = table.with_new(number, Partition("X", LINUX_DATA, UUID(int=number), start, MIB))
    with pytest.raises(ValueError, match="no free entry"):
        table.free_number()
    write_table(table, disk)
    assert sgdisk_finds_it_sound(disk)
    assert len(read_gpt(disk).partitions) == 4


def test_xorrisos_table_is_read(tmp_path: Path) -> None:
    esp = tmp_path / "esp.img"
    tool("mkfs.fat", "-C", "-n", "EFI", esp, "4096")
    write_tree(tmp_path / "tree", {"file": b"x"})
    iso = tmp_path / "iso"
    tool("xorrisofs", "-quiet", "-o", iso, "-append_partition", "2", "0xef", esp,
         "-appended_part_as_gpt", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot",
         tmp_path / "tree")  # fmt: skip
    assert "holds up to 248 entries" in tool("sgdisk", "-p", iso)
    found = {each.label: each for each in read_gpt(iso).partitions.values()}
    assert found["Appended2"].type_guid == ESP
    assert found["Appended2"].size == esp.stat().st_size
    with iso.open("rb") as file:
        file.seek(found["Appended2"].offset)
        assert file.read().startswith(esp.read_bytes())
    assert not read_table(iso).problem


def test_partitions_of_an_image_have_the_numbers_of_their_entries(disk: Path) -> None:
    with_sgdisk("-S248")(disk)
    tool("sgdisk", "-d1", disk)
    found = find_partitions(disk, disk.read_bytes()[:HEAD])
    assert [(each.number, each.label) for each in found] == [(2, "STATE")]
