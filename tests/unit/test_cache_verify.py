"""Verifying damaged caches: everything that is wrong is told, by name, and nothing else."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from imager.cache.open import open_cache
from imager.cache.opened import OpenedCache
from imager.cache.verify import Verification, verify_cache
from imager.oci.platform import Platform
from imager.support.errors import DependencyError, Fail, InputError, OutputError
from imager.support.reporter import ProgressStyle, make_reporter
from tests.lib.caches.caches import (
    REGISTRY,
    REGISTRY_FOLDER,
    CacheFixture,
    cut,
    flip,
    layout_blobs,
    make_flat,
    make_layout,
    make_layout_of,
    make_tar,
    sha256,
)

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
REPORTER = make_reporter(ProgressStyle.NONE)
Pack = Callable[[CacheFixture, Path], Path]
PACKS: dict[str, Pack] = {
    "flat": lambda flat, _: flat.folder,
    "tar": lambda flat, folder: make_tar(flat, folder / "cache.tar"),
    "tar.gz": lambda flat, folder: make_tar(flat, folder / "cache.tar", codec="gzip"),
    "layout": lambda flat, folder: make_layout(flat, folder / "layout"),
    "layout-zstd": lambda flat, folder: make_layout(flat, folder / "layout", codec="zstd"),
}
EVERY_PACK = pytest.mark.parametrize("pack", PACKS)


@pytest.fixture(name="flat")
def flat_cache(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "flat", blob_size=5000)


def verify(path: Path, platforms: Sequence[Platform] = ()) -> Verification:
    return verify_cache(
        lambda fail: open_cache(path, fail=fail), platforms=platforms, reporter=REPORTER
    )


def contains_each(problems: Sequence[str], *parts: str) -> bool:
    """Whether there is one problem for each of `parts`, and no other."""
    return len(problems) == len(parts) and all(
        sum(part in problem for problem in problems) == 1 for part in parts
    )


@EVERY_PACK
def test_a_good_cache(flat: CacheFixture, tmp_path: Path, pack: str) -> None:
    size = sum(map(len, flat.files.values()))
    found = verify(PACKS[pack](flat, tmp_path))
    assert found == Verification(images=3, blobs=len(flat.blobs), size=size)


@EVERY_PACK
def test_every_damaged_file_is_told(flat: CacheFixture, tmp_path: Path, pack: str) -> None:
    damaged = [max(flat.blobs, key=lambda blob: (blob.stat().st_size, blob)), flat.blobs[0]]
    for blob in damaged:
        flip(blob)
    tag = next(flat.folder.rglob("img2/reference/v1"))
    tag.write_bytes(tag.read_bytes() + b" ")

    problems = verify(PACKS[pack](flat, tmp_path)).problems

    # A tag's copy is what it is compared with.
    names = [blob.name.removeprefix("sha256-") for blob in damaged]
    assert contains_each(problems, *names, "img2:v1 is damaged")


@EVERY_PACK
def test_everything_that_is_missing_is_told(flat: CacheFixture, tmp_path: Path, pack: str) -> None:
    first, second = flat.blobs[1], flat.blobs[4]
    first.unlink()
    cut(second)
    gone = [path for path in flat.folder.rglob("img2/digest/*") if b"layers" in path.read_bytes()]
    gone[0].unlink()

    problems = verify(PACKS[pack](flat, tmp_path)).problems

    name = f"{REGISTRY}/team/img"
    assert any(f"{name}0:v1 lacks blob sha256:{first.name[7:]}" in each for each in problems)
    assert any(f"blob sha256:{second.name[7:]} has" in problem for problem in problems)
    assert any("does not match its digest" in problem for problem in problems)
    assert any(f"{name}2:v1 has no manifest for" in problem for problem in problems)


def test_a_manifest_that_is_none_does_not_hide_the_others(flat: CacheFixture) -> None:
    for number, text in ((0, b"{"), (1, b"[]")):
        for path in flat.folder.rglob(f"img{number}/reference/v1"):
            path.write_bytes(text)
    flip(flat.blobs[7])
    problems = verify(flat.folder).problems
    assert contains_each(problems, "img0/reference/v1", "img1/reference/v1", flat.blobs[7].name[7:])


def test_the_layer_and_the_configuration_of_a_layout(flat: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(flat, tmp_path / "layout")
    blobs = layout_blobs(layout)
    data = flat.blobs[1].read_bytes()
    flip(blobs["layer"], blobs["layer"].read_bytes().index(data) + 100)
    flip(blobs["config"], 5)
    problems = verify(layout).problems
    assert contains_each(
        problems,
        f"layer sha256:{blobs['layer'].name}",
        f"blob sha256:{sha256(data)}",
        f"blob sha256:{blobs['config'].name}",
    )


@pytest.mark.parametrize("size", [None, 1000, 0])
def test_a_truncated_layer(flat: CacheFixture, tmp_path: Path, size: int | None) -> None:
    layout = make_layout(flat, tmp_path / "layout")
    blobs = layout_blobs(layout)
    cut(blobs["layer"], size)
    flip(blobs["config"], 5)
    problems = verify(layout).problems
    assert contains_each(problems, blobs["config"].name, f"{blobs['layer'].name} has ")


@pytest.mark.parametrize("name", ["layer", "manifest", "config"])
def test_a_file_that_the_layout_lacks(flat: CacheFixture, tmp_path: Path, name: str) -> None:
    layout = make_layout(flat, tmp_path / "layout")
    gone = layout_blobs(layout)[name]
    gone.unlink()
    assert contains_each(verify(layout).problems, f"{gone.name} is missing")


def test_a_truncated_tar(flat: CacheFixture, tmp_path: Path) -> None:
    tar = make_tar(flat, tmp_path / "cache.tar")
    cut(tar)
    assert contains_each(verify(tar).problems, "is not a whole tar archive")


def test_a_hostile_tar(flat: CacheFixture, tmp_path: Path) -> None:
    tar = make_tar(flat, tmp_path / "cache.tar")
    data = tar.read_bytes()
    tar.write_bytes(data.replace(b"blob/sha256-", b"../b/sha256-"))
    assert len(verify(tar).problems) == 1


def test_links_are_told_with_all_else(flat: CacheFixture) -> None:
    for name in ("a", "b"):
        (flat.folder / "blob" / name).symlink_to("/etc/hostname")
    flip(flat.blobs[1])
    problems = verify(flat.folder).problems
    assert contains_each(problems, "blob/a is a link", "blob/b is a link", flat.blobs[1].name[7:])


def test_what_is_left_over_is_no_problem(flat: CacheFixture, tmp_path: Path) -> None:
    stray = b"of no image"
    (flat.folder / "blob" / f"sha256-{sha256(stray)}").write_bytes(stray)
    (flat.folder / "README").write_text("hello")
    layout = make_layout(flat, tmp_path / "layout")
    (layout / "blobs/sha256" / sha256(b"x")).write_bytes(b"x")
    found = verify(layout)
    assert found.problems == ()
    assert contains_each(found.notes, f"sha256:{sha256(stray)}", sha256(b"x"), "1 file")


def test_a_stray_blob_is_hashed_too(flat: CacheFixture) -> None:
    stray = flat.folder / "blob" / f"sha256-{sha256(b'stray')}"
    stray.write_bytes(b"other")
    assert contains_each(verify(flat.folder).problems, stray.name[7:])


def _without_arm64(flat: CacheFixture, number: int) -> None:
    for path in flat.folder.rglob(f"img{number}/digest/*"):
        document = json.loads(path.read_bytes())
        blobs = (
            [flat.folder / "blob" / document["config"]["digest"].replace(":", "-")]
            if ("config" in document)
            else []
        )
        if any(b"arm64" in blob.read_bytes() for blob in blobs):
            path.unlink()


def test_an_index_may_name_platforms_that_no_image_has(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", images=2, arches=("amd64", "arm64"), blob_size=999)
    assert verify(flat.folder, [AMD64, ARM64]).problems == ()
    _without_arm64(flat, 0)
    name = f"{REGISTRY}/team/img"
    # The other image has it: this one is half there.
    half = (f"{name}0:v1 has no manifest for linux/arm64",)
    assert verify(flat.folder).problems == half
    _without_arm64(flat, 1)
    assert verify(flat.folder).problems == ()
    assert verify(flat.folder, [AMD64]).problems == ()
    both = verify(flat.folder, [ARM64]).problems
    assert contains_each(both, f"{name}0:v1 has no manifest for", f"{name}1:v1 has no manifest for")


def test_an_index_of_which_nothing_is_there(flat: CacheFixture) -> None:
    base = flat.folder / "manifests" / REGISTRY_FOLDER / "team"
    shutil.rmtree(base / "img1")
    shutil.rmtree(base / "img2")
    for path in (base / "img0" / "digest").iterdir():
        if b"layers" in path.read_bytes():
            path.unlink()
    assert contains_each(verify(flat.folder).problems, "img0:v1 has no manifest for any platform")


def test_a_platform_that_the_layout_does_not_name(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", arches=("amd64", "arm64"), blob_size=999)
    layout = make_layout(flat, tmp_path / "layout", platforms=("amd64",))
    found = verify(layout)
    assert found.problems == ()
    assert contains_each(found.notes, "no entry for linux/arm64")
    assert contains_each(verify(layout, [ARM64]).problems, "no entry for linux/arm64")
    named = make_layout(flat, tmp_path / "named", platforms=("amd64", "arm64"))
    assert verify(named, [ARM64]) == verify(named) == Verification(3, 0, 18, found.size)


def test_a_layout_of_something_else(tmp_path: Path) -> None:
    layout = make_layout_of(tmp_path / "layout", b"words", media_type="text/plain")
    assert contains_each(verify(layout).problems, "is an OCI image, not an image cache")


def test_a_registry_that_fails_says_nothing_of_the_cache() -> None:
    def opening(_: Fail) -> OpenedCache:
        raise DependencyError("silent")

    with pytest.raises(DependencyError, match="silent"):
        verify_cache(opening, reporter=REPORTER)


def test_what_may_not_be_read_is_not_damaged(flat: CacheFixture) -> None:
    denied = OutputError("cannot read a blob: Permission denied")
    denied.__cause__ = PermissionError(errno.EACCES, "Permission denied")

    def opening(fail: Fail) -> OpenedCache:
        fail(InputError("another problem"))
        fail(denied)
        return open_cache(flat.folder)

    with pytest.raises(OutputError, match="cannot read a blob"):
        verify_cache(opening, platforms=(), reporter=REPORTER)
