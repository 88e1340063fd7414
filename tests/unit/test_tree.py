"""Trees: what all planners take and all readers return."""

from __future__ import annotations

import pytest

from imager.content.extents import Content
from imager.content.tree import Device, File, Link, Tree
from imager.support.errors import InputError


def file(path: str) -> File:
    return File(path, Content.of_bytes(path.encode()))


def test_folders_follow_from_paths_and_parents_come_first() -> None:
    tree = Tree.of([file("b/c/x"), file("a"), file("b/y")], ["e/f", "b"])
    assert tree.folders == ("b", "b/c", "e", "e/f")
    assert tree.entries == {
        "": ("b", "a", "e"),
        "b": ("b/c", "b/y"),
        "b/c": ("b/c/x",),
        "e": ("e/f",),
        "e/f": (),
    }
    assert tree.implied == {"b/c", "e"}
    assert tree.size == len("b/c/x" + "a" + "b/y")


@pytest.mark.parametrize("path", ["", "/etc", "a//b", "a/", "../x", "bin/..", "./x", "nul\0"])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="not a relative path"):
        Tree.of([file(path)])
    with pytest.raises(InputError, match="not a relative path"):
        Tree.of(folders=[path])
    with pytest.raises(InputError, match="not a relative path"):
        Tree.of(nodes=[Link(path, "x")])


@pytest.mark.parametrize(
    ("paths", "folders", "message"),
    [
        (["a", "a"], [], "two files 'a'"),
        (["a", "a/b"], [], "'a' is both a file and a folder"),
        (["a/b", "a"], [], "'a' is both a file and a folder"),
        (["a/b"], ["a/b"], "'a/b' is both a file and a folder"),
        (["a/b"], ["a/b/c"], "'a/b' is both a file and a folder"),
    ],
)
def test_two_entries_with_one_path_are_refused(
    paths: list[str], folders: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Tree.of(map(file, paths), folders)
    with pytest.raises(InputError, match=message):
        Tree.of(nodes=[Device(path, 1, 1) for path in paths], folders=folders)


def test_a_tree_in_a_folder_of_another_one() -> None:
    inner = Tree.of([file("x"), file("c/y")], ["d"], nodes=[Link("l", "x")], others=["fifo"])
    outer = inner.under("a/b")
    assert [each.path for each in (*outer.files, *outer.nodes)] == ["a/b/x", "a/b/c/y", "a/b/l"]
    assert (outer.folders, outer.others) == (("a", "a/b", "a/b/c", "a/b/d"), ("a/b/fifo",))
    assert outer.below("a/b") == inner
    assert outer.below("a/b/x") == outer.below("other") == Tree.of()


def test_trees_are_joined_in_order() -> None:
    one, two = Tree.of([file("a/x")], ["e"]), Tree.of([file("a/y")], ["d"])
    both = one.joined(two)
    assert [each.path for each in both.files] == ["a/x", "a/y"]
    assert both.folders == ("a", "e", "d")
    with pytest.raises(InputError, match="two files"):
        both.joined(one)
