"""The bounds that hold for foreign volumes of every format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imager.content.extents import Content, Extent, FileRange
from imager.content.tree import Tree
from imager.formats import volume_reader as foreign
from imager.formats.runs import Run
from imager.formats.volume_reader import (
    DamagedError,
    Kind,
    OpenedVolume,
    RawEntry,
    opened_volume,
    read_tree,
)
from imager.support.errors import InputError, OutputError

Place = str
FILE, FOLDER, OTHER = Kind.FILE, Kind.FOLDER, Kind.OTHER


@dataclass
class Drawn:
    """A format of which the test draws the folders; a file's place is its size."""

    volume: OpenedVolume
    folders: dict[Place, list[tuple[str, Kind, Place]]]
    root: Place = "root"

    def entries(self, folder: Place) -> Iterator[RawEntry[Place]]:
        for name, kind, place in self.folders[folder]:
            self.volume.count()
            yield RawEntry(name, kind, place)

    def content(self, file: Place) -> Content:
        return self.volume.content(int(file), [Run(0, 0, int(file))] if int(file) else [])

    def key(self, name: str) -> str:
        return name.lower()


@pytest.fixture(name="path")
def volume_file(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.write_bytes(bytes(range(256)) * 16)
    return path


def drawn(
    path: Path, folders: dict[Place, list[tuple[str, Kind, Place]]], folder: str = ""
) -> Tree:
    with opened_volume(path, offset=0, size=None, what="drawn") as volume:
        return read_tree(volume, Drawn(volume, folders), folder)


def refusal(path: Path, folders: dict[Place, list[tuple[str, Kind, Place]]]) -> str:
    with pytest.raises(InputError) as caught:
        drawn(path, folders)
    assert str(path) in caught.value.message
    return caught.value.message


def test_files_come_sorted_and_with_what_is_below(path: Path) -> None:
    folders = {
        "root": [("b", FOLDER, "1"), ("a", FILE, "3")],
        "1": [("c", FILE, "2"), ("D", FOLDER, "2")],
        "2": [("e", FILE, "0")],
    }
    tree = drawn(path, folders)
    assert [(file.path, file.content.size) for file in tree.files] == [
        *(("a", 3), ("b/D/e", 0), ("b/c", 2))
    ]
    assert tree.folders == ("b", "b/D")
    below = drawn(path, folders, "/B/")
    assert ([file.path for file in below.files], below.folders) == (["D/e", "c"], ("D",))
    for missing in ("x", "a", "b/x"):
        assert drawn(path, folders, missing) == Tree.of()


def test_what_is_neither_file_nor_folder_is_told_and_left_out(path: Path) -> None:
    tree = drawn(path, {"root": [("link", OTHER, ""), ("a", FILE, "1")]})
    assert ([file.path for file in tree.files], tree.others) == (["a"], ("link",))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0"])
def test_impossible_names(path: Path, name: str) -> None:
    assert "is invalid" in refusal(path, {"root": [(name, FILE, "1")]})


def test_a_name_that_is_there_twice(path: Path) -> None:
    assert "twice" in refusal(path, {"root": [("a", FILE, "1"), ("A", FILE, "2")]})


def test_folders_that_contain_each_other(path: Path) -> None:
    loop = {"root": [("a", FOLDER, "1")], "1": [("b", FOLDER, "root")]}
    assert "'a/b' occurs in two places" in refusal(path, loop)
    twice = {"root": [("a", FOLDER, "1"), ("b", FOLDER, "1")], "1": []}
    assert "occurs in two places" in refusal(path, twice)


def test_paths_without_end(path: Path) -> None:
    folders = {str(depth): [("x" * 200, FOLDER, str(depth + 1))] for depth in range(50)}
    assert "too long" in refusal(path, folders | {"root": folders["0"]})


def test_entries_without_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_MOST_ITEMS", 10)
    files = [(f"{number}", FILE, "0") for number in range(10)]
    assert len(drawn(path, {"root": files}).files) == 10
    assert "more than 10 entries" in refusal(path, {"root": [*files, ("more", FILE, "0")]})
    # A piece of a file counts as well.
    assert "more than 10 entries" in refusal(path, {"root": [*files[1:], ("more", FILE, "1")]})


def test_metadata_without_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_MOST_BYTES", 100)
    assert "metadata" in refusal(path, {"root": [("n" * 101, FILE, "0")]})
    with (
        pytest.raises(InputError, match="metadata"),
        opened_volume(path, offset=0, size=None, what="x") as volume,
    ):
        for _ in range(100):
            volume.read(0, 2)


def test_files_larger_than_the_volume(path: Path) -> None:
    assert "its files are larger than" in refusal(path, {"root": [("a", FILE, "4097")]})
    shared = [(f"{number}", FILE, "4096") for number in range(5)]
    assert "its files are larger than" in refusal(path, {"root": shared})
    assert len(drawn(path, {"root": shared[:4]}).files) == 4


def test_runs_become_ranges_of_the_file_with_neighbours_made_one(path: Path) -> None:
    runs = [Run(0, 512, 512), Run(512, 1024, 512), Run(2048, 0, 1024), Run(5000, 0, 10)]
    with opened_volume(path, offset=1000, size=3000, what="x") as volume:
        assert volume.content(2500, runs) == Content(
            2500,
            (
                Extent(0, 1024, FileRange(path, 1512)),
                Extent(2048, 452, FileRange(path, 1000)),
            ),
        )
        assert volume.content(10, []) == Content(10)
        assert volume.content(0, [Run(0, 0, 512)]) == Content(0)


@pytest.mark.parametrize(
    "runs",
    [
        [Run(0, 2500, 501)],
        [Run(0, -1, 10)],
        [Run(0, 1 << 70, 10)],
        [Run(0, 0, -5)],
        [Run(512, 0, 512), Run(0, 1024, 512)],
        [Run(0, 0, 512), Run(511, 1024, 512)],
        # What lies behind the file's end is looked at too.
        [Run(2900, 2500, 501)],
    ],
)
def test_runs_that_leave_the_volume_or_cross(path: Path, runs: list[Run]) -> None:
    with opened_volume(path, offset=1000, size=3000, what="x") as volume:
        with pytest.raises(DamagedError):
            volume.content(2500, runs)
        with pytest.raises(DamagedError):
            volume.read(2990, 11)


def test_a_volume_that_its_file_does_not_hold(path: Path) -> None:
    for offset, size in ((4000, 97), (5000, 1)):
        with (
            pytest.raises(InputError, match=r"at byte \d+ is damaged: the file ends"),
            opened_volume(path, offset=offset, size=size, what="x"),
        ):
            pytest.fail("it was opened")


def test_a_file_that_gets_shorter_while_it_is_read(path: Path) -> None:
    with (
        pytest.raises(InputError, match="is shorter than it was"),
        opened_volume(path, offset=0, size=None, what="x") as volume,
    ):
        with path.open("r+b") as file:
            file.truncate(100)
        volume.read(0, 4096)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot read"),
        opened_volume(tmp_path / "none", offset=0, size=None, what="x"),
    ):
        pytest.fail("it was opened")
