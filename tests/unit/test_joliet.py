"""The Joliet tree of an ISO, read back with struct by ECMA-119 and Microsoft's specification."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from imager.content.extents import Content, FileRange
from imager.content.tree import File, Tree
from imager.formats.iso9660.plan import BootEntry, BootPlatform, IsoAlias, IsoPlan, plan_iso
from tests.lib.tools.support import content_bytes

# 2023-11-14T22:13:20Z: another day in half of the time zones.
TIMESTAMP = 1_700_000_000
SECTOR = 2048
BLOB = f"sha256-{hashlib.sha256(b'').hexdigest()}"


def plan(files: Sequence[File], *, aliases: Sequence[IsoAlias] = ()) -> IsoPlan:
    boot = [BootEntry(files[0].path, BootPlatform.EFI, 0)] if files else []
    return plan_iso(
        Tree.of(files),
        volume_id="TALOS_V1_10_0_ALPHA_1",
        timestamp=TIMESTAMP,
        boot=boot,
        aliases=aliases,
    )


def named(*paths: str) -> IsoPlan:
    return plan([File(path, Content.of_bytes(path.encode())) for path in paths])


@dataclass(frozen=True, slots=True)
class Record:
    """A directory record: identifier, place and length in bytes, flags."""

    name: bytes
    place: int
    length: int
    flags: int


def descriptors(data: bytes) -> list[bytes]:
    """Return the volume descriptors, the terminator last."""
    found = []
    for at in range(16 * SECTOR, len(data), SECTOR):
        found.append(data[at : at + SECTOR])
        assert found[-1][1:7] == b"CD001\1"
        if found[-1][0] == 255:
            break
    return found


def joliet(data: bytes) -> bytes:
    (found,) = [each for each in descriptors(data) if each[0] == 2]
    return found


def both(data: bytes, at: int, size: int = 4) -> int:
    """Return a number that stands there in both orders of bytes."""
    little = int.from_bytes(data[at : at + size], "little")
    assert little == int.from_bytes(data[at + size : at + 2 * size], "big")
    return little


def records(data: bytes, place: int, length: int) -> list[Record]:
    """Return the records of a directory; none crosses a sector."""
    found = []
    for start in range(place, place + length, SECTOR):
        sector = data[start : start + SECTOR]
        while sector and sector[0]:
            assert sector[0] == (33 + sector[32] + 1) // 2 * 2 <= len(sector)
            assert (sector[1], sector[18:25]) == (0, bytes([123, 11, 14, 22, 13, 20, 0]))
            assert sector[26:32] == b"\0\0\1\0\0\1"
            name = sector[33 : 33 + sector[32]]
            found.append(Record(name, both(sector, 2) * SECTOR, both(sector, 10), sector[25]))
            sector = sector[sector[0] :]
        assert not any(sector)
    return found


def walk(data: bytes, place: int, length: int, above: int, path: str = "") -> dict[str, bytes]:
    """Return the bytes of every file below a directory, by the names that Joliet gives them."""
    own, parent, *entries = records(data, place, length)
    assert (own.name, own.place, own.length, own.flags) == (b"\0", place, length, 2)
    assert (parent.name, parent.place, parent.flags) == (b"\1", above, 2)
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    found: dict[str, bytes] = {}
    for entry in entries:
        name = path + entry.name.decode("utf-16-be")
        if entry.flags & 2:
            found |= walk(data, entry.place, entry.length, place, f"{name}/")
        else:
            found[name] = data[entry.place : entry.place + entry.length]
    return found


def tree(planned: IsoPlan) -> dict[str, bytes]:
    data = content_bytes(planned.content)
    root = joliet(data)[156:190]
    place, length = both(root, 2) * SECTOR, both(root, 10)
    return walk(data, place, length, place)


def test_descriptors_stand_in_the_order_of_readers() -> None:
    assert [each[0] for each in descriptors(content_bytes(named("a").content))] == [1, 0, 2, 255]
    assert [each[0] for each in descriptors(content_bytes(plan([]).content))] == [1, 2, 255]


def test_the_descriptor_says_what_the_specification_wants() -> None:
    data = content_bytes(named("a").content)
    found = joliet(data)
    label = "TALOS_V1_10_0_AL".encode("utf-16-be")
    date = b"2023111422132000\0"
    assert found[7:8] == b"\0"
    assert found[8:40] == "IMAGER".ljust(16).encode("utf-16-be")
    assert found[40:72] == label
    assert both(found, 80) * SECTOR == len(data)
    assert found[88:120] == b"%/E".ljust(32, b"\0")
    assert [both(found, at, 2) for at in (120, 124, 128)] == [1, 1, SECTOR]
    assert (found[144:148], found[152:156]) == (bytes(4), bytes(4))
    assert found[190:318] == label.decode("utf-16-be").ljust(64).encode("utf-16-be")
    for at in (318, 446, 574):
        assert found[at : at + 128] == "IMAGER".ljust(64).encode("utf-16-be")
    for at in (702, 739, 776):
        assert found[at : at + 37] == (" " * 18).encode("utf-16-be") + b"\0"
    assert (found[813:830], found[830:847], found[864:881]) == (date, date, date)
    assert found[847:864] == b"0" * 16 + b"\0"
    assert found[881] == 1
    assert not any(found[882:])


def test_files_have_their_own_names_and_bytes() -> None:
    paths = [f"imagecache/blob/{BLOB}", "a/b/c/d/e/f/g/h/i/j", "z", "ünï/ж", "x" * 103, "x" * 102]
    planned = named(*paths)
    assert tree(planned) == {path: path.encode() for path in paths}
    assert planned.renamed == ()


def test_many_files_fill_sectors() -> None:
    paths = [f"{BLOB[:-4]}{number:04d}" for number in range(500)]
    assert tree(named(*paths)) == {path: path.encode() for path in paths}


def test_empty_files_and_aliases_are_there() -> None:
    files = [File("esp", Content.of_bytes(bytes(2048) + b"uki")), File("none", Content(0))]
    planned = plan(files, aliases=[IsoAlias("EFI/x.efi", "esp", 2048, 3)])
    assert tree(planned) == {"esp": bytes(2048) + b"uki", "none": b"", "EFI/x.efi": b"uki"}


def test_path_tables_agree_with_the_directories() -> None:
    data = content_bytes(named(*(f"d{n}/{n % 7}/f" for n in range(300)), "d1/x/y/z").content)
    found = joliet(data)
    size = both(found, 132)
    starts = (struct.unpack_from("<I", found, 140)[0], struct.unpack_from(">I", found, 148)[0])
    tables = []
    for order, sector in zip("<>", starts, strict=True):
        at, table = sector * SECTOR, []
        while at < sector * SECTOR + size:
            length, extent, above = struct.unpack_from(f"{order}BxIH", data, at)
            table.append((above, data[at + 8 : at + 8 + length], extent * SECTOR))
            at += 8 + length + length % 2
        assert at == sector * SECTOR + size
        tables.append(table)
    assert tables[0] == tables[1]
    assert len(tables[0]) == 603
    levels = [0]
    for number, (above, name, place) in enumerate(tables[0], start=1):
        own, parent = records(data, place, SECTOR)[:2]
        assert (own.place, parent.place) == (place, tables[0][above - 1][2])
        if number > 1:
            levels.append(levels[above - 1] + 1)
            siblings = records(data, parent.place, parent.length)
            assert (name, place) in [(each.name, each.place) for each in siblings]
    rows = [(level, *row[:2]) for level, row in zip(levels, tables[0], strict=True)]
    assert rows == sorted(rows)


@pytest.mark.parametrize(
    "name",
    ["n" * 104, "😀" * 52, "a.", "a ", "a:b", "a;1", 'a"', "a\\b", "a*?|<>", "\x1f", "~" * 104],
)
def test_names_that_windows_cannot_have_are_shortened(name: str) -> None:
    planned = named("d/other", f"d/{name}")
    other = {path: data for path, data in tree(planned).items() if path != "d/other"}
    ((path, data),) = other.items()
    short = path.removeprefix("d/")
    assert data == f"d/{name}".encode()
    assert planned.renamed == (f"d/{name}",)
    assert short.endswith(f"~{hashlib.sha256(name.encode()).hexdigest()[:16]}")
    assert short[:1] in {name[:1], "_"}
    assert len(short.encode("utf-16-be")) <= 206


def test_shortened_names_and_names_that_look_so_differ() -> None:
    short = next(iter(tree(named("a:"))))
    planned = named("a:", short, "n" * 120 + "1", "n" * 120 + "2")
    assert sorted(tree(planned).values()) == sorted(
        [b"a:", short.encode(), b"n" * 120 + b"1", b"n" * 120 + b"2"]
    )
    assert len(planned.renamed) == 4


def test_names_that_differ_in_case_alone_are_told_apart() -> None:
    planned = named("tags/v1", "tags/V1", "Tags/v1")
    found = tree(planned)
    assert len({path.lower() for path in found}) == 3
    assert found["tags/v1"] == b"tags/v1"
    assert sorted(planned.renamed) == ["Tags", "tags/V1"]


def test_files_above_4_gib_have_several_records() -> None:
    size = (9 << 30) + 5
    source = FileRange(Path("/nowhere/at/all"))
    files = [File("big", Content.of_source(source, size)), File("z", Content(1))]
    planned = plan([*files])
    extents = [extent for extent in planned.content.extents if extent.source != source]
    data = content_bytes(Content(planned.files[0].offset, tuple(extents)))
    root = joliet(data)[156:190]
    found = records(data, both(root, 2) * SECTOR, both(root, 10))[2:-1]
    assert [record.flags for record in found] == [0x80, 0x80, 0]
    assert [record.length for record in found] == [0xFFFFF800, 0xFFFFF800, size - 2 * 0xFFFFF800]
    assert [record.place for record in found] == [
        planned.files[0].offset + number * 0xFFFFF800 for number in range(3)
    ]


def test_the_data_are_there_once() -> None:
    blob = bytes(range(256)) * 100
    data = content_bytes(plan([File("imagecache/x", Content.of_bytes(blob))]).content)
    assert data.count(blob) == 1
