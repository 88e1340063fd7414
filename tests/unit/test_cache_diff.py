"""Caches compared, and in numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from imager.cache.cache import ImageCache
from imager.cache.diff import diff_caches
from imager.cache.info import cache_info
from imager.cache.open import open_cache
from tests.lib.caches.caches import (
    REGISTRY,
    REGISTRY_FOLDER,
    CacheFixture,
    make_flat,
    make_layout,
    make_tar,
    sha256,
    tree_files,
)

NAME = f"{REGISTRY}/team/img"


def opened(path: Path) -> ImageCache:
    return open_cache(path).cache


def without(flat: CacheFixture, folder: Path, number: int) -> Path:
    """Copy a tree without one of its images; its blobs stay."""
    shutil.copytree(flat.folder, folder)
    shutil.rmtree(folder / "manifests" / REGISTRY_FOLDER / "team" / f"img{number}")
    return folder


def test_packing_makes_no_difference(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", blob_size=999)
    caches = [
        opened(flat.folder),
        opened(make_tar(flat, tmp_path / "cache.tar", codec="zstd")),
        opened(make_layout(flat, tmp_path / "layout")),
        opened(make_layout(flat, tmp_path / "packed", codec="gzip")),
    ]
    for one in caches:
        for other in caches:
            assert diff_caches(one, other).same


def test_images_of_one_cache_alone(tmp_path: Path) -> None:
    big = make_flat(tmp_path / "big", images=3, blob_size=999)
    small = make_flat(tmp_path / "small", images=2, blob_size=999)
    added = {path: data for path, data in big.files.items() if path not in small.files}
    blobs = {path[-64:]: len(data) for path, data in added.items() if path.startswith("blob/")}

    diff = diff_caches(opened(small.folder), opened(big.folder))
    assert not diff.same
    assert [str(image.reference) for image in diff.added] == [f"{NAME}2:v1"]
    assert (diff.removed, diff.changed, diff.blobs_removed) == ((), (), {})
    assert {digest.hex: size for digest, size in diff.blobs_added.items()} == blobs

    back = diff_caches(opened(big.folder), opened(small.folder))
    assert (back.removed, back.blobs_removed) == (diff.added, diff.blobs_added)
    assert (back.added, back.blobs_added) == ((), {})


def test_a_name_that_leads_to_another_image(tmp_path: Path) -> None:
    one = make_flat(tmp_path / "one", images=1, blob_size=999, arches=("amd64", "arm64"))
    other = make_flat(tmp_path / "other", images=1, blob_size=999, arches=("arm64",))
    diff = diff_caches(opened(one.folder), opened(other.folder))
    (change,) = diff.changed
    assert (diff.added, diff.removed) == ((), ())
    (platform,) = change.platforms
    assert (platform.platform, platform.new) == ("linux/amd64", None)
    assert platform.old is not None
    assert change.old.root.digest != change.new.root.digest
    assert len(diff.blobs_removed) == 3


def test_an_index_of_which_less_is_there(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", images=1, blob_size=999, arches=("amd64", "arm64"))
    index = json.loads(next(flat.folder.rglob("reference/v1")).read_bytes())
    whole = opened(flat.folder)
    entry = index["manifests"][1]["digest"].removeprefix("sha256:")
    next(flat.folder.rglob(f"digest/sha256-{entry}")).unlink()

    diff = diff_caches(whole, opened(flat.folder))
    (change,) = diff.changed
    assert change.old.root.digest == change.new.root.digest
    assert [(each.platform, each.new) for each in change.platforms] == [("linux/arm64", None)]


def test_a_blob_of_no_image_is_a_difference(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", blob_size=999)
    before = opened(flat.folder)
    (flat.folder / "blob" / f"sha256-{sha256(b'x')}").write_bytes(b"x")
    diff = diff_caches(before, opened(flat.folder))
    assert not diff.same
    assert list(diff.blobs_added.values()) == [1]


@pytest.mark.parametrize("packed", [False, True])
def test_the_numbers_of_a_cache(tmp_path: Path, packed: bool) -> None:
    flat = make_flat(tmp_path / "flat", images=2, blob_size=70_000, arches=("amd64", "arm64"))
    # One of the images under a second name: all its blobs are shared.
    team = flat.folder / "manifests" / REGISTRY_FOLDER / "team"
    shutil.copytree(team / "img1", team / "again")
    files = tree_files(flat.folder)
    path = make_layout(flat, tmp_path / "layout", codec="gzip") if packed else flat.folder

    info = cache_info(open_cache(path), scratch=tmp_path)

    sizes = {path: len(data) for path, data in files.items()}
    blobs = {path: size for path, size in sizes.items() if path.startswith("blob/")}
    assert info.cache.size == sum(sizes.values())
    assert len(info.cache.blobs) == len(blobs) == 12
    assert info.manifests == 2 * 3
    assert [str(image.reference) for image in info.images] == [
        f"{REGISTRY}/team/again:v1",
        *(f"{NAME}{number}:v1" for number in range(2)),
    ]
    assert {tuple(map(str, image.platforms)) for image in info.images} == {
        ("linux/amd64", "linux/arm64")
    }
    twice = info.images[0].blobs
    assert info.shared == sum(blob.size for blob in twice.values())
    one = sum(size for path, size in sizes.items() if "/img0/" in path)
    assert info.images[1].size == one + sum(blobs.values()) - info.shared
    assert info.unreferenced == ()


def test_a_blob_of_no_image_is_told(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", images=2, blob_size=999)
    gone = without(flat, tmp_path / "gone", 1)
    info = cache_info(open_cache(gone), scratch=tmp_path)
    assert len(info.unreferenced) == 3
    assert info.shared == 0
