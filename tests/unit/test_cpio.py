from __future__ import annotations

import pytest

from imager.content.extents import Content
from imager.content.tree import Device, File, Link, Tree
from imager.formats.cpio import plan_cpio
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
