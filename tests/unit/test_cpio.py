from __future__ import annotations

from pathlib import Path

import pytest

from imager.content.extents import Content
from imager.content.tree import Device, File, Link, Tree
from imager.formats.cpio import open_cpio, plan_cpio
from imager.formats.errors import DamagedVolumeError
from tests.lib.tools.support import content_bytes

# buffer-format.rst: magic and 13 fields of 8 hexadecimal digits.
HEADER = 6 + 13 * 8


TREE = Tree.of(
    [File("bin/tool", Content.of_bytes(b"\x7fELF!"), mode=0o755), File("empty", Content(0))],
    nodes=[Device("dev/console", 5, 1), Link("bin/sh", "tool")],
)


def archive_of(tree: Tree, *, timestamp: int) -> bytes:
    return content_bytes(plan_cpio(tree, timestamp=timestamp).content)


def fields(record: bytes) -> list[int]:
    return [int(record[start : start + 8], 16) for start in range(6, HEADER, 8)]


def test_a_record_has_the_fields_of_the_format() -> None:
    archive = archive_of(
        Tree.of([File("a", Content.of_bytes(b"hello"), mode=0o640)]), timestamp=0x12345678
    )
    assert archive[:6] == b"070701"
    assert fields(archive) == [1, 0o100640, 0, 0, 1, 0x12345678, 5, 0, 0, 0, 0, 2, 0]
    # Name and data each end on a multiple of four bytes from the start of the archive.
    assert archive[HEADER : HEADER + 2] == b"a\0"
    assert archive[HEADER + 2 : HEADER + 2 + 8] == b"hello\0\0\0"


def test_the_trailer_ends_the_archive() -> None:
    archive = archive_of(Tree.of(), timestamp=7)
    assert fields(archive) == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0]
    assert archive[HEADER:] == b"TRAILER!!!\0\0\0\0"
    assert len(archive) % 4 == 0


def test_folders_come_before_what_is_in_them() -> None:
    archive = archive_of(TREE, timestamp=1)
    places = [archive.index(b"%s\0" % name) for name in (b"bin", b"bin/tool", b"bin/sh")]
    assert places == sorted(places)


def test_files_are_where_the_plan_says() -> None:
    plan = plan_cpio(TREE, timestamp=1)
    data = content_bytes(plan.content)
    assert [(file.path, data[file.offset : file.offset + file.length]) for file in plan.files] == [
        *(("bin/tool", b"\x7fELF!"), ("empty", b""))
    ]


def test_the_same_tree_gives_the_same_bytes() -> None:
    first = archive_of(TREE, timestamp=1_704_067_200)
    assert first == archive_of(TREE, timestamp=1_704_067_200)
    assert first != archive_of(TREE, timestamp=1_704_067_201)


@pytest.mark.parametrize("timestamp", [-1, 1 << 32])
def test_a_time_that_does_not_fit_is_refused(timestamp: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        plan_cpio(Tree.of(folders=["bin"]), timestamp=timestamp)


# --- read -------------------------------------------------------------------------------------


def test_an_archive_is_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    archive = archive_of(TREE, timestamp=1)
    path.write_bytes(b"....before" * 2 + archive + b"after")
    opened = open_cpio(path, offset=20)
    assert opened.end == 20 + len(archive)
    found = {file.path: (file.mode, content_bytes(file.content)) for file in opened.tree.files}
    assert found == {"bin/tool": (0o755, b"\x7fELF!"), "empty": (0o644, b"")}
    assert opened.tree.folders == ("bin", "dev")
    assert opened.tree.nodes == TREE.nodes
    assert opened.tree.others == ()


def test_the_last_entry_of_a_path_counts_and_dots_mean_nothing(tmp_path: Path) -> None:
    def entry(name: str, mode: int, data: bytes = b"") -> bytes:
        fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070702" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

    entries = [
        *(entry(".", 0o40755), entry("./a", 0o100644, b"old"), entry("d", 0o40755)),
        *(entry("a", 0o100600, b"new"), entry("pipe", 0o10644), entry("TRAILER!!!", 0)),
    ]
    path = tmp_path / "archive"
    path.write_bytes(b"".join(entries))
    tree = open_cpio(path).tree
    assert [(each.path, each.mode, content_bytes(each.content)) for each in tree.files] == [
        ("a", 0o600, b"new")
    ]
    assert (tree.folders, tree.others) == (("d",), ("pipe",))


@pytest.mark.parametrize("cut", [4, 100, 111, 200, 300])
def test_a_cut_archive_is_damaged(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "archive"
    path.write_bytes(archive_of(TREE, timestamp=1)[:-cut])
    with pytest.raises(DamagedVolumeError, match="the cpio archive is damaged"):
        open_cpio(path)


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (0, b"070707"),
        (6 + 8 * 11, b"00000000"),  # the name's size
        (6 + 8 * 11, b"FFFFFFFF"),
        (6 + 8 * 6, b"7FFFFFFF"),  # the data's size
        (6 + 8 * 6, b"0000 00F"),
        (110, b"../"),
    ],
)
def test_a_wrong_header_is_damage(tmp_path: Path, position: int, text: bytes) -> None:
    archive = bytearray(archive_of(Tree.of([File("abc", Content.of_bytes(b"x"))]), timestamp=1))
    archive[position : position + len(text)] = text
    path = tmp_path / "archive"
    path.write_bytes(archive)
    with pytest.raises(DamagedVolumeError, match="the cpio archive is damaged"):
        open_cpio(path)
