"""The folders of a cache's tree: in layers, trees and images, and made good in old caches."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from imager.cache.archiving import ArchiveFormat
from imager.cache.cache_source import gather_held
from imager.cache.edit import Wanted, keeping_options, plan_addition, plan_pruning
from imager.cache.images import cached_images
from imager.cache.open import open_cache
from imager.cache.paths import cache_tree
from imager.cache.plan import CacheLayout, CreateOptions
from imager.cache.publish import plan_cache
from imager.cache.verify import verify_cache
from imager.cache.write import write_gathered
from imager.content.extents import Content
from imager.content.tar import plan_tar
from imager.content.tree import File, Tree
from imager.formats.ext4.directories import directories_of
from imager.formats.iso9660.identifiers import plan_tree
from imager.node.sync import copy_cache, plan_copy
from imager.support.reporter import ProgressStyle, make_reporter
from imager.support.workers import Work
from tests.lib.caches.caches import (
    REGISTRY_FOLDER,
    CacheFixture,
    drop_tag,
    layout_blobs,
    make_flat,
    make_layout,
    make_old_layout,
    tar_without_folders,
    tree_files,
    unpack_as_talos,
)
from tests.lib.caches.sources import gathered
from tests.lib.tools.support import write_content

REPORTER = make_reporter(ProgressStyle.NONE)
HEX = "0" * 64


@pytest.fixture(name="flat")
def flat_cache(tmp_path: Path) -> CacheFixture:
    """Return a cache whose image img0 is there by its digest alone, without `reference/`."""
    flat = make_flat(tmp_path / "flat", images=2, blob_size=3000)
    drop_tag(flat)
    return flat


EXPECTED = [
    "blob",
    "manifests",
    f"manifests/{REGISTRY_FOLDER}",
    f"manifests/{REGISTRY_FOLDER}/team",
    f"manifests/{REGISTRY_FOLDER}/team/img0",
    f"manifests/{REGISTRY_FOLDER}/team/img0/digest",
    f"manifests/{REGISTRY_FOLDER}/team/img0/reference",
    f"manifests/{REGISTRY_FOLDER}/team/img1",
    f"manifests/{REGISTRY_FOLDER}/team/img1/digest",
    f"manifests/{REGISTRY_FOLDER}/team/img1/reference",
]


def folders_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_dir())


def folders_of(*paths: str) -> list[str]:
    return sorted(cache_tree(File(path, Content(0)) for path in paths).folders)


def test_a_repository_has_the_folder_reference() -> None:
    assert folders_of(f"manifests/r.io/a/b/digest/sha256-{HEX}", f"blob/sha256-{HEX}") == [
        "blob",
        "manifests",
        "manifests/r.io",
        "manifests/r.io/a",
        "manifests/r.io/a/b",
        "manifests/r.io/a/b/digest",
        "manifests/r.io/a/b/reference",
    ]


def test_a_repository_may_be_called_digest() -> None:
    """Its folder stands above that of another repository, and is not taken for it."""
    found = folders_of(
        f"manifests/r.io/a/digest/digest/sha256-{HEX}", f"manifests/r.io/a/digest/sha256-{HEX}"
    )
    assert {"manifests/r.io/a/reference", "manifests/r.io/a/digest/reference"} <= set(found)


def test_a_layer_unpacks_without_making_parents(flat: CacheFixture, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    write_gathered(gathered(flat.folder), path, options=CreateOptions(), reporter=REPORTER)
    layer = layout_blobs(path)["layer"]
    unpacked = unpack_as_talos(layer, tmp_path / "unpacked")
    assert folders_in(unpacked) == EXPECTED
    assert tree_files(unpacked) == flat.files
    # The blocks themselves: names end with a slash, as in POSIX's ustar.
    raw = layer.read_bytes()
    names = [raw[at : at + 100].rstrip(b"\0").decode() for at in range(0, 512 * 10, 512)]
    assert names == [f"{name}/" for name in EXPECTED]
    with tarfile.open(layer) as tar:
        entries = [member for member in tar if member.isdir()]
    assert {(e.mode, e.uid, e.gid, e.mtime, e.size) for e in entries} == {(0o755, 0, 0, 0, 0)}


def test_layers_before_do_not_unpack_so(flat: CacheFixture, tmp_path: Path) -> None:
    """The unpacker of this test is one that notices."""
    layer = layout_blobs(make_old_layout(flat, tmp_path / "old"))["layer"]
    with pytest.raises(FileNotFoundError):
        unpack_as_talos(layer, tmp_path / "unpacked")


@pytest.mark.parametrize("archive", [None, ArchiveFormat.TAR])
def test_a_flat_tree_has_its_folders(
    flat: CacheFixture, tmp_path: Path, archive: ArchiveFormat | None
) -> None:
    path = tmp_path / "cache"
    options = CreateOptions(CacheLayout.FLAT, archive=archive)
    write_gathered(gathered(flat.folder), path, options=options, reporter=REPORTER)
    made = path if archive is None else unpack_as_talos(path, tmp_path / "unpacked")
    assert folders_in(made) == EXPECTED
    assert tree_files(made) == flat.files


def test_an_old_layout_is_read_and_told_of(flat: CacheFixture, tmp_path: Path) -> None:
    old = open_cache(make_old_layout(flat, tmp_path / "old"))
    assert list(old.lacking) == EXPECTED
    found = verify_cache(lambda _: old, reporter=REPORTER)
    assert found.problems == ()
    (note,) = found.notes
    assert "missing 10 folders that Talos needs, such as blob" in note
    assert "`imager images cache-prune` adds them" in note


def test_a_flat_tree_may_lack_a_folder_too(flat: CacheFixture) -> None:
    assert open_cache(flat.folder).lacking == (EXPECTED[6],)


def test_what_talos_makes_lacks_nothing(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat")
    assert open_cache(make_layout(flat, tmp_path / "layout", codec="gzip")).lacking == ()
    assert open_cache(flat.folder).lacking == ()


def test_pruning_nothing_adds_the_folders(flat: CacheFixture, tmp_path: Path) -> None:
    path = make_old_layout(flat, tmp_path / "old")
    opened = open_cache(path)
    pruning = plan_pruning(opened, Wanted())
    assert (pruning.changes, pruning.freed) == (True, 0)
    assert list(pruning.folders_added) == EXPECTED
    options = keeping_options(opened, jobs=1)
    write_gathered(pruning.gathered, path, options=options, reporter=REPORTER)
    write_gathered(gathered(flat.folder), tmp_path / "new", options=options, reporter=REPORTER)
    assert tree_files(path) == tree_files(tmp_path / "new")
    assert not plan_pruning(open_cache(path), Wanted()).changes


def test_adding_what_is_there_adds_the_folders(flat: CacheFixture, tmp_path: Path) -> None:
    old = open_cache(make_old_layout(flat, tmp_path / "old"))
    new = open_cache(make_layout(make_flat(tmp_path / "n"), tmp_path / "new"))
    assert plan_addition(old, gather_held(old.cache, cached_images(old.cache))).changes
    assert not plan_addition(new, gather_held(new.cache, cached_images(new.cache))).changes


def test_a_push_has_the_folders(flat: CacheFixture, tmp_path: Path) -> None:
    old = make_old_layout(flat, tmp_path / "old")
    made = tmp_path / "made"
    write_gathered(gathered(flat.folder), made, options=CreateOptions(), reporter=REPORTER)
    tar = tmp_path / "t.tar"
    tar.write_bytes(tar_without_folders(flat.files))
    wanted = plan_cache(made, reporter=REPORTER).root.digest
    for path in (old, flat.folder, tar):
        assert plan_cache(path, reporter=REPORTER).root.digest == wanted


def test_a_copy_into_a_volume_has_the_folders(flat: CacheFixture, tmp_path: Path) -> None:
    target = tmp_path / "volume"
    target.mkdir()
    copy_cache(plan_copy(open_cache(flat.folder).cache, target), Work())
    assert folders_in(target) == EXPECTED


def test_formats_take_folders_of_no_file() -> None:
    tree = Tree.of([File("a/b/file", Content(1))], ["a", "a/empty", "other/deep"])
    ext4 = directories_of(tree)
    assert set(ext4) == {"", "a", "a/b", "a/empty", "other", "other/deep"}
    assert ext4["a/empty"] == ()
    iso = plan_tree(tree)
    assert set(iso.directories) == {"a", "a/b", "a/empty", "other", "other/deep"}


def test_a_long_name_of_a_folder_has_a_pax_record(tmp_path: Path) -> None:
    folder = "/".join(["x" * 90] * 4)
    plan = plan_tar(Tree.of([File(f"{folder}/f", Content(0))], [folder]), timestamp=0)
    path = write_content(plan.content, tmp_path / "t")
    with tarfile.open(path) as tar:
        assert [(member.name, member.isdir()) for member in tar][-2:] == [
            (folder, True),
            (f"{folder}/f", False),
        ]
