from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imager.arch import AMD64, ARM64
from imager.checks import run_checks
from imager.copier import iterate_content
from imager.errors import ImagerError, InputError
from imager.extents import Content, FileRange, StreamRange
from imager.imagecache.cache import ImageCache
from imager.imagecache.open import open_cache
from tests.caches import (
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    REGISTRY,
    REGISTRY_FOLDER,
    CacheFixture,
    compress,
    cut,
    descriptor,
    dump,
    flip,
    layout_blobs,
    make_flat,
    make_layout,
    make_layout_of,
    make_tar,
    sha256,
    tar_bytes,
)

Make = Callable[[CacheFixture, Path], Path]


def _flat(cache: CacheFixture, _: Path) -> Path:
    return cache.folder


def _tar(codec: str | None) -> Make:
    return lambda cache, folder: make_tar(cache, folder / "cache.tar", codec=codec)


def _layout(codec: str | None) -> Make:
    return lambda cache, folder: make_layout(cache, folder / "layout", codec=codec)


SOURCES: dict[str, Make] = {
    "flat": _flat,
    "tar": _tar(None),
    "tar.gz": _tar("gzip"),
    "tar.zst": _tar("zstd"),
    "layout": _layout(None),
    "layout-gzip": _layout("gzip"),
    "layout-zstd": _layout("zstd"),
}
EVERY_SOURCE = pytest.mark.parametrize("source", SOURCES)
PLAIN_SOURCES = pytest.mark.parametrize("source", ["flat", "tar", "layout"])
COMPRESSED = pytest.mark.parametrize("source", ["tar.gz", "tar.zst", "layout-gzip", "layout-zstd"])


@pytest.fixture(name="cache")
def flat_cache(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "flat", blob_size=10_000)


def read(content: Content) -> bytes:
    pieces = iterate_content(content)
    return b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in pieces)


def opened(path: Path) -> ImageCache:
    """Open the cache as a build does: with all that must be checked beside the copy."""
    cache = open_cache(path, arch=AMD64)
    run_checks(cache.checks)
    return cache


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        opened(path)
    return caught.value


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
def test_every_file_is_checked_once_and_by_the_right_one(
    cache: CacheFixture, tmp_path: Path, source: str
) -> None:
    path = SOURCES[source](cache, tmp_path)
    found = open_cache(path, arch=AMD64)
    names = [check.what.split()[0] for check in found.checks]
    packed = "." in source or "-" in source
    # Configurations are checked when the cache is opened, like manifests.
    configs = len(found.config_platforms)
    assert configs > 0
    assert names.count("blob") == (0 if packed else len(cache.blobs) - configs)
    assert names.count("layer") == source.startswith("layout")
    for file in found.files:
        kinds = {type(extent.source) for extent in file.content.extents}
        assert kinds == {StreamRange if packed else FileRange}


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
            found = open_cache(path, arch=arch)
            assert [str(platform) for platform in found.platforms] == ["linux/amd64", "linux/arm64"]


# What is no cache at all.


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
    assert "there are no manifests in it" in refusal(tmp_path).message


def test_a_tar_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(tar_bytes({"readme": b"hello"}))
    assert "there are no manifests in it" in refusal(tmp_path / "t").message


def test_files_that_are_no_part_of_a_cache_are_counted(cache: CacheFixture) -> None:
    (cache.folder / "README").write_text("hello")
    (cache.folder / "blob" / "sha256-x.tmp").write_text("half")
    found = opened(cache.folder)
    assert found.ignored == 2
    assert "README" not in [file.path for file in found.files]


# Platforms.


def test_no_image_for_the_arch(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(cache, tmp_path / "layout", platforms=("amd64",))
    with pytest.raises(InputError, match="no OCI image found for arm64") as caught:
        open_cache(layout, arch=ARM64)
    assert caught.value.hint == "it has: linux/amd64"


def test_an_index_without_platforms(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(cache, tmp_path / "layout", platforms=())
    error = refusal(layout)
    assert "no OCI image found for amd64" in error.message
    assert error.hint == "it has: no platforms at all"


@EVERY_SOURCE
def test_images_for_another_arch_alone(tmp_path: Path, source: str) -> None:
    cache = make_flat(tmp_path / "flat", arches=("arm64",), images=1, blob_size=99)
    error = refusal(SOURCES[source](cache, tmp_path))
    assert "is incomplete for amd64" in error.message
    assert f"{REGISTRY}/team/img0:v1 has no manifest for linux/amd64" in error.message
    assert error.hint == "create it again with --platform linux/amd64"


def _manifests(cache: CacheFixture, number: int = 0) -> tuple[Path, dict[str, Any]]:
    """Return the folder of an image's manifests, and its index."""
    base = cache.folder / "manifests" / REGISTRY_FOLDER / "team" / f"img{number}"
    return base, json.loads((base / "reference" / "v1").read_bytes())


def _replace_index(cache: CacheFixture, index: dict[str, Any]) -> None:
    base, _ = _manifests(cache)
    old = (base / "reference" / "v1").read_bytes()
    (base / "digest" / f"sha256-{sha256(old)}").unlink()
    data = dump(index)
    (base / "reference" / "v1").write_bytes(data)
    (base / "digest" / f"sha256-{sha256(data)}").write_bytes(data)


def test_an_index_may_name_manifests_of_other_platforms_that_are_not_here(
    cache: CacheFixture,
) -> None:
    _, index = _manifests(cache)
    elsewhere = descriptor(
        MANIFEST_TYPE, b"not here", platform={"os": "linux", "architecture": "s390x"}
    )
    attestation = descriptor(
        MANIFEST_TYPE, b"nor this", platform={"os": "unknown", "architecture": "unknown"}
    )
    index["manifests"] += [elsewhere, attestation]
    _replace_index(cache, index)
    assert len(opened(cache.folder).images) == 3


# Digests and sizes.


@EVERY_SOURCE
def test_a_blob_that_is_damaged(cache: CacheFixture, tmp_path: Path, source: str) -> None:
    blob = max(cache.blobs, key=lambda path: path.stat().st_size)
    flip(blob)
    message = refusal(SOURCES[source](cache, tmp_path)).message
    assert f"blob sha256:{blob.name.removeprefix('sha256-')}" in message
    assert "does not match its digest" in message


@EVERY_SOURCE
@pytest.mark.parametrize("more", [b"", b"longer"])
def test_a_blob_of_another_size(
    cache: CacheFixture, tmp_path: Path, source: str, more: bytes
) -> None:
    blob = max(cache.blobs, key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes() + more if more else blob.read_bytes()[:-1])
    message = refusal(SOURCES[source](cache, tmp_path)).message
    assert "does not match its digest" in message or "bytes, not" in message
    assert blob.name.removeprefix("sha256-") in message


@EVERY_SOURCE
@pytest.mark.parametrize("kind", ["config", "layer"])
def test_a_blob_that_is_missing(
    cache: CacheFixture, tmp_path: Path, source: str, kind: str
) -> None:
    blob = cache.blobs[0 if kind == "config" else 1]
    blob.unlink()
    message = refusal(SOURCES[source](cache, tmp_path)).message
    digest = f"sha256:{blob.name.removeprefix('sha256-')}"
    assert f"{cache.references[0]} lacks blob {digest}" in message


@EVERY_SOURCE
def test_a_manifest_that_is_missing(cache: CacheFixture, tmp_path: Path, source: str) -> None:
    base, index = _manifests(cache)
    digest = index["manifests"][0]["digest"].partition(":")[2]
    (base / "digest" / f"sha256-{digest}").unlink()
    message = refusal(SOURCES[source](cache, tmp_path)).message
    assert f"{cache.references[0]} has no manifest for linux/amd64" in message


@EVERY_SOURCE
def test_an_index_whose_digest_copy_is_missing(
    cache: CacheFixture, tmp_path: Path, source: str
) -> None:
    base, _ = _manifests(cache)
    data = (base / "reference" / "v1").read_bytes()
    (base / "digest" / f"sha256-{sha256(data)}").unlink()
    message = refusal(SOURCES[source](cache, tmp_path)).message
    assert f"the manifest of {cache.references[0]} is damaged, or its copy" in message


@EVERY_SOURCE
def test_a_tag_that_is_damaged(cache: CacheFixture, tmp_path: Path, source: str) -> None:
    base, _ = _manifests(cache)
    tag = base / "reference" / "v1"
    tag.write_bytes(tag.read_bytes().replace(b"amd64", b"amd46"))
    assert "is damaged, or its copy" in refusal(SOURCES[source](cache, tmp_path)).message


@EVERY_SOURCE
@pytest.mark.parametrize("which", ["index", "manifest"])
def test_a_digest_copy_that_is_damaged(
    cache: CacheFixture, tmp_path: Path, source: str, which: str
) -> None:
    base, index = _manifests(cache)
    name = index["manifests"][0]["digest"].partition(":")[2]
    if which == "index":
        name = sha256((base / "reference" / "v1").read_bytes())
    path = base / "digest" / f"sha256-{name}"
    path.write_bytes(path.read_bytes() + b" ")
    message = refusal(SOURCES[source](cache, tmp_path)).message
    assert f"sha256-{name} does not match its digest" in message


@EVERY_SOURCE
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff"])
def test_a_manifest_that_is_none(
    cache: CacheFixture, tmp_path: Path, source: str, data: bytes
) -> None:
    base, _ = _manifests(cache)
    (base / "reference" / "v1").write_bytes(data)
    assert "reference/v1" in refusal(SOURCES[source](cache, tmp_path)).message


@EVERY_SOURCE
def test_a_manifest_that_is_too_large(cache: CacheFixture, tmp_path: Path, source: str) -> None:
    base, _ = _manifests(cache)
    (base / "reference" / "v1").write_bytes(b" " * ((4 << 20) + 1))
    assert "is too large for a manifest" in refusal(SOURCES[source](cache, tmp_path)).message


def test_an_index_of_indexes(cache: CacheFixture) -> None:
    base, index = _manifests(cache)
    inner = (base / "reference" / "v1").read_bytes()
    outer = {
        **index,
        "manifests": [
            descriptor(INDEX_TYPE, inner, platform={"os": "linux", "architecture": "amd64"})
        ],
    }
    (base / "reference" / "v2").write_bytes(dump(outer))
    (base / "digest" / f"sha256-{sha256(dump(outer))}").write_bytes(dump(outer))
    assert "is an index of indexes" in refusal(cache.folder).message


# The layout's own blobs.


@pytest.mark.parametrize("source", ["layout", "layout-gzip", "layout-zstd"])
@pytest.mark.parametrize("what", ["manifest", "config", "layer"])
def test_a_blob_of_the_layout_that_is_damaged_cut_or_missing(
    cache: CacheFixture, tmp_path: Path, source: str, what: str
) -> None:
    layout = SOURCES[source](cache, tmp_path)
    blob = layout_blobs(layout)[what]
    whole = blob.read_bytes()
    for damage in (flip, cut, lambda path: path.unlink()):
        damage(blob)
        message = refusal(layout).message
        assert blob.name in message or "does not match its digest" in message
        blob.write_bytes(whole)
    opened(layout)


def test_padding_of_a_layer_is_checked_too(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    layer = layout_blobs(layout)["layer"]
    flip(layer, layer.stat().st_size - 1)
    assert f"layer sha256:{layer.name} does not match its digest" in refusal(layout).message


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_layer_truncated_before_it_was_hashed(
    cache: CacheFixture, tmp_path: Path, codec: str
) -> None:
    layer = compress(tar_bytes(cache.files), codec)[:-2000]
    layout = make_layout_of(tmp_path / "l", layer, media_type=f"{LAYER_TYPE}+{codec}")
    assert f"is not a whole {codec} stream" in refusal(layout).message


def test_a_tar_truncated_before_it_was_hashed(cache: CacheFixture, tmp_path: Path) -> None:
    layer = tar_bytes(cache.files).rstrip(b"\0")[:-20_000]
    layout = make_layout_of(tmp_path / "l", layer, media_type=LAYER_TYPE)
    assert "is not a whole tar archive" in refusal(layout).message


@pytest.mark.parametrize(
    ("codec", "media_type"),
    [
        (None, f"{LAYER_TYPE}+gzip"),
        (None, f"{LAYER_TYPE}+zstd"),
        ("gzip", LAYER_TYPE),
        ("zstd", f"{LAYER_TYPE}+gzip"),
    ],
)
def test_a_layer_that_is_not_what_its_media_type_says(
    cache: CacheFixture, tmp_path: Path, codec: str | None, media_type: str
) -> None:
    layer = compress(tar_bytes(cache.files), codec)
    error = refusal(make_layout_of(tmp_path / "l", layer, media_type=media_type))
    assert f"is not what its media type {media_type} says" in error.message


def test_a_layer_of_another_kind(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout_of(tmp_path / "l", b"x", media_type="application/x-what")
    assert "is not an image cache: it must have one tar layer" in refusal(layout).message


@pytest.mark.parametrize("codec", ["gzip", None])
def test_dockers_media_types_are_taken(
    cache: CacheFixture, tmp_path: Path, codec: str | None
) -> None:
    media_type = "application/vnd.docker.image.rootfs.diff.tar" + (f".{codec}" if codec else "")
    layer = compress(tar_bytes(cache.files), codec)
    assert len(opened(make_layout_of(tmp_path / "l", layer, media_type=media_type)).images) == 3


# Links and names.


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside"])
def test_links_in_a_tree_are_refused(cache: CacheFixture, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_bytes(b"x")
    (cache.folder / "blob" / ("sha256-" + "0" * 64)).symlink_to(target)
    assert "is a link; a cache has files and folders only" in refusal(cache.folder).message


def test_linked_folders_in_a_tree_are_refused(cache: CacheFixture) -> None:
    (cache.folder / "manifests" / "loop").symlink_to(cache.folder)
    assert "is a link" in refusal(cache.folder).message


def test_a_layer_that_is_a_link_out_of_the_layout(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    layer = layout_blobs(layout)["layer"]
    layer.rename(tmp_path / "elsewhere")
    layer.symlink_to(tmp_path / "elsewhere")
    assert "link that leaves the layout" in refusal(layout).message


def test_pipes_in_a_tree_are_not_read(cache: CacheFixture) -> None:
    os.mkfifo(cache.folder / "blob" / ("sha256-" + "0" * 64))
    assert len(opened(cache.folder).blobs) == len(cache.blobs)


@PLAIN_SOURCES
def test_a_source_may_change_only_before_it_is_opened(
    cache: CacheFixture, tmp_path: Path, source: str
) -> None:
    path = SOURCES[source](cache, tmp_path)
    found = open_cache(path, arch=AMD64)
    blob = max(found.blobs.values(), key=lambda file: file.content.size)
    (extent,) = blob.content.extents
    assert isinstance(extent.source, FileRange)
    flip(extent.source.path, extent.source.offset)
    with pytest.raises(InputError, match="does not match its digest"):
        run_checks(found.checks)


@COMPRESSED
def test_compressed_sources_are_hashed_when_opened(
    cache: CacheFixture, tmp_path: Path, source: str
) -> None:
    found = open_cache(SOURCES[source](cache, tmp_path), arch=AMD64)
    assert all(file.sha256 == sha256(cache.files[file.path]) for file in found.files)
