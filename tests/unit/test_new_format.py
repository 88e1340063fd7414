"""A format that is new here: one module with two functions, and everything else takes it.

`docs/architecture.md`, "Adding a format", shows this file.
"""

from __future__ import annotations

import struct
from pathlib import Path
from uuid import UUID

import pytest

from imager.content.copier import write_content
from imager.content.extents import Content, FileRange
from imager.content.reading import read_content
from imager.content.tree import File, PlacedFile, Tree, VolumePlan
from imager.formats.fat.plan import minimum_fat_size, plan_fat
from imager.formats.fat.read import open_fat
from imager.formats.gpt.entries import LINUX_DATA, Partition
from imager.formats.gpt.table import plan_gpt
from imager.support.errors import InputError
from imager.support.units import MIB

_HEAD = struct.Struct("<4sHQ")


def plan_toy(tree: Tree) -> VolumePlan:
    """Return `tree` as records: magic, length of the path, length of the data, both of them."""
    parts: list[tuple[int, Content]] = []
    placed: list[PlacedFile] = []
    end = 0
    for file in tree.files:
        path = file.path.encode()
        if len(path) > 1000:  # the format's own rule; all others are the tree's
            raise InputError(f"toy: {file.path!r} is longer than 1000 bytes")
        head = Content.of_bytes(_HEAD.pack(b"toy!", len(path), file.content.size) + path)
        parts += [(end, head), (end + head.size, file.content)]
        placed.append(PlacedFile(file.path, end + head.size, file.content.size))
        end += head.size + file.content.size
    return VolumePlan(Content.compose(end, parts), tuple(placed))


def open_toy(path: Path) -> Tree:
    """Return the files in the volume `path`, which lie where they are."""
    files = []
    with path.open("rb") as volume:
        while head := volume.read(_HEAD.size):
            _, path_length, size = _HEAD.unpack(head)
            name = volume.read(path_length).decode()
            files.append(File(name, Content.of_source(FileRange(path, volume.tell()), size)))
            volume.seek(size, 1)
    return Tree.of(files)


def write(content: Content, path: Path) -> Path:
    with path.open("wb+") as file:
        write_content(content, file.fileno(), progress=lambda _: None)
    return path


@pytest.fixture(name="tree")
def small_tree(tmp_path: Path) -> Tree:
    (tmp_path / "kernel").write_bytes(b"kernel" * 1000)
    kernel = File("boot/kernel", Content.of_file(tmp_path / "kernel"))
    return Tree.of([kernel, File("empty", Content(0)), File("zeros", Content(5000))])


def contents(tree: Tree) -> dict[str, bytes]:
    return {file.path: read_content(file.content) for file in tree.files}


def test_what_is_planned_comes_back(tree: Tree, tmp_path: Path) -> None:
    planned = plan_toy(tree)
    volume = write(planned.content, tmp_path / "volume")
    assert contents(open_toy(volume)) == contents(tree)
    data = volume.read_bytes()
    assert {file.path: data[file.offset :][: file.length] for file in planned.files} == contents(
        tree
    )
    with pytest.raises(InputError, match="longer than 1000 bytes"):
        plan_toy(Tree.of([File("x" * 1001, Content(0))]))


def test_one_format_lies_in_another(tree: Tree, tmp_path: Path) -> None:
    """A volume of it is a file on FAT in a partition; what is read there is packed again."""
    outer = Tree.of([File("inner.toy", plan_toy(tree).content)])
    size = -(-minimum_fat_size(outer) // MIB) * MIB
    fat = plan_fat(outer, size=size, label="TOY", volume_id=1, timestamp=1_704_067_200)
    part = Partition("TOY", LINUX_DATA, UUID(int=1), MIB, size)
    gpt = plan_gpt([part], disk_size=size + 3 * MIB, disk_guid=UUID(int=2))
    placed = [(0, gpt.primary), (MIB, fat.content), (gpt.backup_offset, gpt.backup)]
    disk = write(Content.compose(size + 3 * MIB, placed), tmp_path / "disk")
    (inner,) = open_fat(disk, offset=MIB, size=size).files
    assert contents(open_toy(write(inner.content, tmp_path / "inner"))) == contents(tree)
    assert plan_toy(open_toy(tmp_path / "inner")).content.size == inner.content.size
