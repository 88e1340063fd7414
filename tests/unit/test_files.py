"""Listing and extracting: hostile names and links, what exists already, and paths."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from imager.app.files import FilesOf, extract_files, list_files, send_file
from imager.content.extents import Content
from imager.content.tree import Device, File, Link, Tree
from imager.formats.cpio import plan_cpio
from imager.image.inspect.extract import stays_inside
from imager.support.errors import AlreadyExistsError, InputError
from tests.lib.caches.caches import make_flat, make_layout
from tests.lib.tools.support import content_bytes


def archive(folder: Path, *links: Link, files: tuple[str, ...] = ("a/b/file",)) -> FilesOf:
    tree = Tree.of(
        [File(path, Content.of_bytes(path.encode())) for path in files],
        nodes=[*links, Device("dev/null", 1, 3)],
    )
    path = folder / "initramfs"
    path.write_bytes(content_bytes(plan_cpio(tree, timestamp=0).content))
    return FilesOf(str(path))


@pytest.mark.parametrize(
    ("path", "target", "stays"),
    [
        ("a/b/link", "file", True),
        ("a/b/link", "../../x/y", True),
        ("a/b/link", "../../../x", False),
        ("link", "..", False),
        ("link", "/etc/passwd", False),
        ("a/link", "b/../../../etc", False),
        # What `up` leads to has another parent than its own folder.
        ("a/link", "up/../..", False),
        ("link", "", False),
    ],
)
def test_links_that_may_lead_out(path: str, target: str, *, stays: bool) -> None:
    assert stays_inside(Link(path, target)) is stays


def test_a_folder_is_extracted_without_what_leads_out(tmp_path: Path) -> None:
    links = (
        Link("in", "a/b"),
        Link("a/b/up", "../.."),
        Link("a/b/z", "up/../../x"),
        Link("out", "/etc"),
    )
    target = tmp_path / "target"
    done = extract_files(archive(tmp_path, *links), "/", target)
    assert (done.files, (target / "in/file").read_text()) == (1, "a/b/file")
    assert {path.name for path in target.rglob("*") if path.is_symlink()} == {"in", "up"}
    assert not (target / "dev/null").exists()
    assert sorted(each.partition(":")[0] for each in done.left_out) == ["a/b/z", "dev/null", "out"]


@pytest.mark.parametrize("name", ["../escaped", "/absolute", "a/../../escaped"])
def test_hostile_names_are_refused_or_kept_inside(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    target = tmp_path / "deep/target"
    target.parent.mkdir()
    if ".." in name:
        with pytest.raises(InputError):
            extract_files(FilesOf(str(tmp_path / "bad.tar")), "/", target)
        assert not target.exists()
    else:
        extract_files(FilesOf(str(tmp_path / "bad.tar")), "/", target)
        assert (target / "absolute").read_bytes() == b"evil"
    assert [path.name for path in tmp_path.iterdir() if "escaped" in path.name] == []
    with pytest.raises(InputError, match=r"contains '\.\.'"):
        list_files(archive(tmp_path), "a/../b")


def test_a_link_is_followed_inside_of_its_archive(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    links = (Link("root", "/a"), Link("up", "../../../a/b"), Link("x/loop", "loop"))
    of = archive(tmp_path, *links)
    for path in ("root/b/file", "up/file", "./a//b/file"):
        output = io.BytesIO()
        send_file(of, path, output)
        assert output.getvalue() == b"a/b/file"
    with pytest.raises(InputError, match="too many symbolic links"):
        list_files(of, "x/loop")
    with pytest.raises(InputError, match="is a folder"):
        send_file(of, "a", io.BytesIO())
    assert [(each.path, each.kind) for each in list_files(of)] == [
        ("a", "folder"),
        ("dev", "folder"),
        ("root", "link"),
        ("up", "link"),
        ("x", "folder"),
    ]


def test_nothing_is_replaced_unless_forced(tmp_path: Path) -> None:
    of = archive(tmp_path)
    existing = tmp_path / "existing"
    existing.write_text("mine")
    with pytest.raises(AlreadyExistsError):
        extract_files(of, "a/b/file", existing)
    assert existing.read_text() == "mine"
    assert extract_files(of, "a/b/file", existing, force=True).path == existing
    assert existing.read_text() == "a/b/file"
    full = tmp_path / "full"
    (full / "a").mkdir(parents=True)
    (full / "a/mine").write_text("mine")
    with pytest.raises(AlreadyExistsError):
        extract_files(of, "a", full, force=True)
    assert (full / "a/mine").read_text() == "mine"
    assert extract_files(of, "a/b", full).path == full / "b"
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no a/c") as caught:
        list_files(archive(tmp_path), "a/c")
    assert caught.value.hint == "a contains: b"
    with pytest.raises(InputError, match="no files inside"):
        list_files(archive(tmp_path), "a/b/file/more")


def test_files_of_caches_and_layouts(tmp_path: Path) -> None:
    cache = make_flat(tmp_path / "flat", images=1, blob_size=3000)
    layout = make_layout(cache, tmp_path / "layout")
    with tarfile.open(tmp_path / "layout.tar", "w") as tar:
        tar.add(layout, arcname=".")
    for number, source in enumerate((cache.folder, layout, tmp_path / "layout.tar")):
        target = tmp_path / str(number)
        extract_files(FilesOf(str(source)), "/", target)
        found = {path: (target / path).read_bytes() for path in cache.files}
        assert found == dict(cache.files)


def test_archives_replace_folders_by_files_and_files_by_folders(tmp_path: Path) -> None:
    packed = b""
    for paths in (("a/x", "b"), ("a", "b/y", "c/z"), ("c/w",)):
        files = [File(path, Content.of_bytes(path.encode())) for path in paths]
        packed += content_bytes(plan_cpio(Tree.of(files), timestamp=0).content)
    (tmp_path / "initramfs").write_bytes(packed)
    listed = list_files(FilesOf(str(tmp_path / "initramfs")), recursive=True)
    assert [(each.path, each.kind) for each in listed] == [
        ("a", "file"),
        ("b", "folder"),
        ("b/y", "file"),
        ("c", "folder"),
        ("c/w", "file"),
        ("c/z", "file"),
    ]
