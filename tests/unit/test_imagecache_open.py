"""None"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imager.cache.open import open_cache
from imager.content.extents import Data, FileRange, StreamRange
from imager.support.arch import AMD64, ARM64
from imager.support.errors import ImagerError, InputError
from tests.lib.caches.caches import (
    MANIFEST_TYPE,
    REGISTRY,
    CacheFixture,
    descriptor,
    dump,
    make_flat,
    make_layout,
    sha256,
    tar_bytes,
)
from tests.lib.caches.sources import (
    EVERY_SOURCE,
    SOURCES,
    manifests_of,
    opened,
    read,
    refusal,
)


@pytest.fixture(name="cache")
def flat_cache(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "flat", blob_size=10_000)


@EVERY_SOURCE
def test_every_source_gives_the_same_files(
    cache: CacheFixture, tmp_path: Path, source: str
) -> None:
    found = opened(SOURCES[source](cache, tmp_path))
    assert {file.path: read(file.content) for file in found.files} == cache.files
    assert tuple(str(reference) for reference in found.images) == cache.references
    assert [str(platform) for platform in found.platforms] == ["linux/amd64"]
    assert found.size == sum(len(data) for data in cache.files.values())
    assert len(found.blobs) == len(cache.blobs)
    assert found.ignored == 0


@EVERY_SOURCE
def test_every_blob_is_checked_once_while_it_is_copied(
    cache: CacheFixture, tmp_path: Path, source: str
) -> None:
    path = SOURCES[source](cache, tmp_path)
    found = open_cache(path, arch=AMD64).cache
    assert sorted(f"sha256-{check.sha256}" for check in found.checks) == sorted(
        blob.name for blob in cache.blobs
    )
    # The layer contains them, and is checked apart from them.
    containers = [check.what.split()[0] for check in found.containers]
    assert containers == ["layer"] * source.startswith(("layout", "archive"))
    packed = "." in source or "-" in source
    for file in found.files:
        kinds = {type(extent.source) for extent in file.content.extents}
        # A manifest is checked before, and kept.
        manifest = file.path.startswith("manifests/")
        assert kinds == {Data if manifest else StreamRange if packed else FileRange}


@EVERY_SOURCE
def test_a_relative_path_and_a_link_to_the_cache_are_followed(
    cache: CacheFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    path = SOURCES[source](cache, tmp_path)
    link = tmp_path / "link"
    link.symlink_to(path)
    monkeypatch.chdir(tmp_path)
    found = opened(Path("link"))
    monkeypatch.chdir("/")
    assert {file.path: read(file.content) for file in found.files} == cache.files


def test_a_cache_of_several_platforms(tmp_path: Path) -> None:
    cache = make_flat(tmp_path / "flat", arches=("amd64", "arm64"), blob_size=999)
    layout = make_layout(cache, tmp_path / "layout", platforms=("amd64", "arm64"))
    for path in (cache.folder, layout):
        for arch in (AMD64, ARM64):
            found = open_cache(path, arch=arch).cache
            assert [str(platform) for platform in found.platforms] == ["linux/amd64", "linux/arm64"]


def test_a_missing_cache(tmp_path: Path) -> None:
    error = refusal(tmp_path / "gone")
    assert error.message == f"image cache {tmp_path}/gone does not exist"
    assert "OCI layout" in error.hint


def test_a_folder_that_is_no_cache(tmp_path: Path) -> None:
    assert "is not an image cache: it has neither" in refusal(tmp_path).message


@pytest.mark.parametrize("missing", ["oci-layout", "index.json"])
def test_a_layout_without_one_of_its_files(
    cache: CacheFixture, tmp_path: Path, missing: str
) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    (layout / missing).unlink()
    assert "is not an OCI image layout" in refusal(layout).message


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schemaVersion": 1}', '{"a": "\\ud800"}']
)
@pytest.mark.parametrize("name", ["oci-layout", "index.json"])
def test_a_layout_whose_files_are_not_what_they_should_be(
    cache: CacheFixture, tmp_path: Path, name: str, text: str
) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    (layout / name).write_text(text)
    with pytest.raises(ImagerError):
        opened(layout)


def test_an_empty_tree_has_no_manifests(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    assert "it contains no manifests" in refusal(tmp_path).message


def test_a_tar_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(tar_bytes({"readme": b"hello"}))
    assert "it has neither manifests/ nor index.json" in refusal(tmp_path / "t").message


def test_files_that_are_no_part_of_a_cache_are_counted(cache: CacheFixture) -> None:
    (cache.folder / "README").write_text("hello")
    (cache.folder / "blob" / "sha256-x.tmp").write_text("half")
    found = opened(cache.folder)
    assert found.ignored == 2
    assert "README" not in [file.path for file in found.files]


def test_no_image_for_the_arch(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(cache, tmp_path / "layout", platforms=("amd64",))
    with pytest.raises(InputError, match="no OCI image found for arm64") as caught:
        open_cache(layout, arch=ARM64)
    assert caught.value.hint == "available: linux/amd64"


def test_an_index_without_platforms(cache: CacheFixture, tmp_path: Path) -> None:
    """Skopeo writes none; with a single image there is no choice to make."""
    layout = make_layout(cache, tmp_path / "layout", platforms=())
    assert {file.path for file in open_cache(layout, arch=AMD64).cache.files} == set(cache.files)
    index = json.loads((layout / "index.json").read_text())
    other = {**index["manifests"][0], "digest": f"sha256:{'0' * 64}"}
    (layout / "index.json").write_text(
        json.dumps({**index, "manifests": [other, *index["manifests"]]})
    )
    error = refusal(layout)
    assert "no OCI image found for amd64" in error.message
    assert "its index has no platforms" in error.hint


@EVERY_SOURCE
def test_images_for_another_arch_alone(tmp_path: Path, source: str) -> None:
    cache = make_flat(tmp_path / "flat", arches=("arm64",), images=1, blob_size=99)
    error = refusal(SOURCES[source](cache, tmp_path))
    assert "is incomplete for amd64" in error.message
    assert f"{REGISTRY}/team/img0:v1 has no manifest for linux/amd64" in error.message
    assert error.hint == "create it again with --platform linux/amd64"


def _replace_index(cache: CacheFixture, index: dict[str, Any]) -> None:
    base, _ = manifests_of(cache)
    old = (base / "reference" / "v1").read_bytes()
    (base / "digest" / f"sha256-{sha256(old)}").unlink()
    data = dump(index)
    (base / "reference" / "v1").write_bytes(data)
    (base / "digest" / f"sha256-{sha256(data)}").write_bytes(data)


def test_an_index_may_name_manifests_of_other_platforms_that_are_not_here(
    cache: CacheFixture,
) -> None:
    _, index = manifests_of(cache)
    elsewhere = descriptor(
        MANIFEST_TYPE, b"not here", platform={"os": "linux", "architecture": "s390x"}
    )
    attestation = descriptor(
        MANIFEST_TYPE, b"nor this", platform={"os": "unknown", "architecture": "unknown"}
    )
    index["manifests"] += [elsewhere, attestation]
    _replace_index(cache, index)
    assert len(opened(cache.folder).images) == 3
