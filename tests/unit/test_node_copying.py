"""A cache copied into a volume: whole or not at all under a name, and taken up where it was cut."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from imager.cache.open import open_cache
from imager.node import sync as copying
from imager.node.sync import copy_cache, plan_copy
from imager.support.atomic import write_atomic
from imager.support.errors import HostError, InputError
from imager.support.workers import Work
from tests.lib.caches.caches import CacheFixture, flip, make_flat, tree_files


@pytest.fixture
def flat(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "flat", images=3, arches=("amd64", "arm64"))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


def copy(source: Path, volume: Path) -> None:
    copy_cache(plan_copy(open_cache(source).cache, volume), Work())


def copied_files(volume: Path) -> dict[str, bytes]:
    """Return the files of the copy, without what it remembers of itself."""
    return {path: data for path, data in tree_files(volume).items() if path != ".copied"}


def names(volume: Path) -> list[Path]:
    return list(volume.glob("manifests/**/reference/*"))


def test_the_copy_is_the_cache(flat: CacheFixture, volume: Path) -> None:
    plan = plan_copy(open_cache(flat.folder).cache, volume)
    assert plan.size == sum(map(len, flat.files.values()))
    assert plan.missing >= plan.size
    copy_cache(plan, Work())
    assert copied_files(volume) == flat.files
    assert plan.missing == 0
    for path in volume.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_what_is_there_is_left_alone(flat: CacheFixture, volume: Path) -> None:
    copy(flat.folder, volume)
    other = volume / "blob" / ("sha256-" + "0" * 64)
    other.write_bytes(b"of an older cache")
    before = {path: path.stat() for path in volume.rglob("*") if path.is_file()}
    copy(flat.folder, volume)
    after = {path: path.stat() for path in volume.rglob("*") if path.is_file()}
    assert {path: (each.st_ino, each.st_mtime_ns) for path, each in before.items()} == {
        path: (each.st_ino, each.st_mtime_ns) for path, each in after.items()
    }


def test_a_file_of_the_right_size_may_be_wrong(flat: CacheFixture, volume: Path) -> None:
    """As a copy of other tools leaves it, which go by sizes."""
    shutil.copytree(flat.folder, volume, dirs_exist_ok=True)
    flip(volume / "blob" / flat.blobs[1].name)
    (tag,) = volume.glob("manifests/*/team/img0/reference/v1")
    tag.write_bytes(bytes(len(tag.read_bytes())))
    copy(flat.folder, volume)
    assert copied_files(volume) == flat.files


@pytest.mark.parametrize("left", ["good", "bad", "long"])
def test_a_copy_is_taken_up(flat: CacheFixture, volume: Path, left: str) -> None:
    blob = max(flat.blobs, key=lambda path: path.stat().st_size)
    data = blob.read_bytes()
    part = {"good": data[:70_000], "bad": bytes(70_000), "long": data + b"x"}[left]
    (volume / "blob").mkdir()
    (volume / "blob" / f".{blob.name}.partial").write_bytes(part)
    whole = plan_copy(open_cache(flat.folder).cache, volume).missing
    if left == "good":
        assert whole < plan_copy(open_cache(flat.folder).cache, volume / "none").missing
    copy(flat.folder, volume)
    assert copied_files(volume) == flat.files


def test_a_damaged_blob_is_told_and_nothing_is_named(flat: CacheFixture, volume: Path) -> None:
    bad = flat.blobs[2]
    whole = bad.read_bytes()
    flip(bad)
    with pytest.raises(InputError, match=bad.name.removeprefix("sha256-")):
        copy(flat.folder, volume)
    assert names(volume) == []
    assert len(list((volume / "blob").glob("sha256-*"))) == len(flat.blobs) - 1
    bad.write_bytes(whole)
    copy(flat.folder, volume)
    assert copied_files(volume) == flat.files


def test_every_blob_is_there_before_a_name(
    flat: CacheFixture, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    write = write_atomic

    def watched(path: Path, data: bytes, *, mode: int) -> None:
        if path.name != ".copied":
            seen.append("reference" in path.parts)
        assert len(list((volume / "blob").iterdir())) == len(flat.blobs)
        write(path, data, mode=mode)

    monkeypatch.setattr(copying, "write_atomic", watched)
    copy(flat.folder, volume)
    assert seen == sorted(seen)
    assert set(seen) == {False, True}


def test_a_volume_that_is_too_small_is_told_by_how_much(
    flat: CacheFixture, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = plan_copy(open_cache(flat.folder).cache, volume).missing
    monkeypatch.setattr(copying, "free_space", lambda _: missing - 4096)
    with pytest.raises(HostError, match=r"too small by 4 KiB"):
        copy(flat.folder, volume)
    assert list(volume.iterdir()) == []
    monkeypatch.setattr(copying, "free_space", lambda _: missing)
    copy(flat.folder, volume)


def one_tag(folder: Path) -> Path:
    (tag,) = folder.glob("manifests/*/team/img0/reference/v1")
    return tag


def test_a_newer_cache_moves_a_tag_and_an_older_one_does_not_move_it_back(
    flat: CacheFixture, volume: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(flat.folder, newer)
    other = one_tag(newer).parents[2] / "img1/reference/v1"
    one_tag(newer).write_bytes(other.read_bytes())
    by_digest = one_tag(newer).parents[1] / "digest"
    shutil.copytree(other.parents[1] / "digest", by_digest, dirs_exist_ok=True)
    moved, first = one_tag(newer).read_bytes(), one_tag(flat.folder).read_bytes()
    assert moved != first

    copy(flat.folder, volume)
    assert plan_copy(open_cache(flat.folder).cache, volume).is_done
    assert not plan_copy(open_cache(newer).cache, volume).is_done
    copy(newer, volume)
    assert one_tag(volume).read_bytes() == moved
    copy(flat.folder, volume)
    assert one_tag(volume).read_bytes() == moved
    assert plan_copy(open_cache(newer).cache, volume).is_done
    # By digest the older one is there still.
    found = {path.read_bytes() for path in volume.glob("manifests/*/team/img0/digest/*")}
    assert {moved, first} <= found


def test_what_a_volume_has_lost_is_copied_again(flat: CacheFixture, volume: Path) -> None:
    copy(flat.folder, volume)
    flat_plan = plan_copy(open_cache(flat.folder).cache, volume)
    assert flat_plan.is_done
    one_tag(volume).unlink()
    (volume / "blob" / flat.blobs[0].name).unlink()
    assert not plan_copy(open_cache(flat.folder).cache, volume).is_done
    copy(flat.folder, volume)
    assert copied_files(volume) == flat.files


def test_a_record_that_is_nonsense_is_none(flat: CacheFixture, volume: Path) -> None:
    (volume / ".copied").write_bytes(b"\xff\0 nonsense" * 10_000)
    copy(flat.folder, volume)
    assert copied_files(volume) == flat.files
    assert plan_copy(open_cache(flat.folder).cache, volume).is_done
