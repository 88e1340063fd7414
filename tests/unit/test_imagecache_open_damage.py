"""Image caches that are damaged, incomplete or hostile are refused when they are opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imager.cache.open import open_cache
from imager.cache.verify import verify_cache
from imager.content.digests import run_checks
from imager.content.extents import FileRange
from imager.support.arch import AMD64
from imager.support.errors import InputError
from imager.support.reporter import ProgressStyle, make_reporter
from tests.lib.caches.caches import (
    INDEX_TYPE,
    LAYER_TYPE,
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
    sha256,
    tar_bytes,
    tree_files,
)
from tests.lib.caches.sources import (
    EVERY_SOURCE,
    PLAIN_SOURCES,
    SOURCES,
    gathered,
    manifests_of,
    opened,
    read,
    refusal,
)


@pytest.fixture(name="cache")
def flat_cache(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "flat", blob_size=10_000)


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
    base, index = manifests_of(cache)
    digest = index["manifests"][0]["digest"].partition(":")[2]
    (base / "digest" / f"sha256-{digest}").unlink()
    message = refusal(SOURCES[source](cache, tmp_path)).message
    assert f"{cache.references[0]} has no manifest for linux/amd64" in message


@EVERY_SOURCE
def test_an_index_whose_digest_copy_is_missing(
    cache: CacheFixture, tmp_path: Path, source: str
) -> None:
    base, _ = manifests_of(cache)
    data = (base / "reference" / "v1").read_bytes()
    (base / "digest" / f"sha256-{sha256(data)}").unlink()
    message = refusal(SOURCES[source](cache, tmp_path)).message
    assert f"the manifest of {cache.references[0]} is damaged, or its copy" in message


@EVERY_SOURCE
def test_a_tag_that_is_damaged(cache: CacheFixture, tmp_path: Path, source: str) -> None:
    base, _ = manifests_of(cache)
    tag = base / "reference" / "v1"
    tag.write_bytes(tag.read_bytes().replace(b"amd64", b"amd46"))
    assert "is damaged, or its copy" in refusal(SOURCES[source](cache, tmp_path)).message


@EVERY_SOURCE
@pytest.mark.parametrize("which", ["index", "manifest"])
def test_a_digest_copy_that_is_damaged(
    cache: CacheFixture, tmp_path: Path, source: str, which: str
) -> None:
    base, index = manifests_of(cache)
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
    base, _ = manifests_of(cache)
    (base / "reference" / "v1").write_bytes(data)
    assert "reference/v1" in refusal(SOURCES[source](cache, tmp_path)).message


@EVERY_SOURCE
def test_a_manifest_that_is_too_large(cache: CacheFixture, tmp_path: Path, source: str) -> None:
    base, _ = manifests_of(cache)
    (base / "reference" / "v1").write_bytes(b" " * ((4 << 20) + 1))
    assert "is too large for a manifest" in refusal(SOURCES[source](cache, tmp_path)).message


def test_an_index_of_indexes(cache: CacheFixture) -> None:
    base, index = manifests_of(cache)
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


@pytest.mark.parametrize("source", ["layout", "layout-gzip", "layout-zstd", "archive"])
def test_a_layer_with_damage_outside_of_blobs_and_manifests(
    cache: CacheFixture, tmp_path: Path, source: str
) -> None:
    """A build leaves it out; a verification tells."""
    whole = {**cache.files, "README": b"whole", "blob/README": b"whole"}
    other = {path: b"other" if data == b"whole" else data for path, data in whole.items()}
    codec = source.partition("-")[2] or None
    damaged = compress(tar_bytes(other).ljust(1 << 20, b"x"), codec)
    layout = make_layout_of(
        tmp_path / "layout",
        compress(tar_bytes(whole).ljust(1 << 20, b"\0"), codec).ljust(len(damaged), b"\0"),
        media_type=LAYER_TYPE + (f"+{codec}" if codec else ""),
    )
    layer = layout_blobs(layout)["layer"]
    assert layer.stat().st_size == len(damaged)
    layer.write_bytes(damaged)
    path = layout
    if source == "archive":
        path = tmp_path / "archive.tar"
        path.write_bytes(tar_bytes(tree_files(layout)))
    assert {file.path: read(file.content) for file in opened(path).files} == cache.files
    found = verify_cache(
        lambda fail: open_cache(path, fail=fail),
        reporter=make_reporter(ProgressStyle.NONE),
    )
    assert found.problems == (
        f"layer sha256:{layer.name} does not match its digest sha256:{layer.name}",
    )


def test_manifests_are_copied_as_they_were_checked(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    found = opened(layout)
    layer = layout_blobs(layout)["layer"]
    layer.write_bytes(layer.read_bytes().replace(b'"schemaVersion"', b'"schemaversion"'))
    copied = {file.path: read(file.content) for file in found.files}
    manifests = {path: data for path, data in cache.files.items() if path.startswith("manifests")}
    assert manifests and manifests.items() <= copied.items()


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_layer_truncated_before_it_was_hashed(
    cache: CacheFixture, tmp_path: Path, codec: str
) -> None:
    layer = compress(tar_bytes(cache.files), codec)[:-2000]
    layout = make_layout_of(tmp_path / "l", layer, media_type=f"{LAYER_TYPE}+{codec}")
    assert f"is not a whole {codec} stream" in refusal(layout).message


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
def test_a_layer_may_end_with_the_data_of_its_last_file(
    cache: CacheFixture, tmp_path: Path, codec: str | None
) -> None:
    """As layers of `umoci insert`; a byte less is an error."""
    suffix = f"+{codec}" if codec else ""
    whole = tar_bytes({**cache.files, "z": b"z"})
    end = whole.rindex(b"z") + 1
    layer = compress(whole[:end], codec)
    layout = make_layout_of(tmp_path / "whole", layer, media_type=LAYER_TYPE + suffix)
    assert gathered(layout).blobs.keys() == gathered(cache.folder).blobs.keys()
    shorter = compress(whole[: end - 1], codec)
    layout = make_layout_of(tmp_path / "shorter", shorter, media_type=LAYER_TYPE + suffix)
    error = refusal(layout)
    assert "layer sha256:" in error.message
    assert f"of {layout} is not a whole tar archive: it ends inside of" in error.message
    assert error.hint == "it is damaged or truncated: create or copy it again"


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
    assert f"does not match its media type {media_type}" in error.message


def test_a_layer_of_another_kind(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout_of(tmp_path / "l", b"x", media_type="application/x-what")
    error = refusal(layout)
    assert error.message == f"{layout} is an OCI image, not an image cache"
    assert f"LIST has the line NAME=oci:{layout}" in error.hint


@pytest.mark.parametrize("codec", ["gzip", None])
def test_dockers_media_types_are_taken(
    cache: CacheFixture, tmp_path: Path, codec: str | None
) -> None:
    media_type = "application/vnd.docker.image.rootfs.diff.tar" + (f".{codec}" if codec else "")
    layer = compress(tar_bytes(cache.files), codec)
    assert len(opened(make_layout_of(tmp_path / "l", layer, media_type=media_type)).images) == 3


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside"])
def test_links_in_a_tree_are_refused(cache: CacheFixture, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_bytes(b"x")
    (cache.folder / "blob" / ("sha256-" + "0" * 64)).symlink_to(target)
    assert "is a link or a special file" in refusal(cache.folder).message


def test_linked_folders_in_a_tree_are_refused(cache: CacheFixture) -> None:
    (cache.folder / "manifests" / "loop").symlink_to(cache.folder)
    assert "is a link" in refusal(cache.folder).message


def test_a_layer_that_is_a_link_out_of_the_layout(cache: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(cache, tmp_path / "layout")
    layer = layout_blobs(layout)["layer"]
    layer.rename(tmp_path / "elsewhere")
    layer.symlink_to(tmp_path / "elsewhere")
    assert "link that leads out of the folder" in refusal(layout).message


def test_pipes_in_a_tree_are_refused_unread(cache: CacheFixture) -> None:
    os.mkfifo(cache.folder / "blob" / ("sha256-" + "0" * 64))
    assert "is a link or a special file" in refusal(cache.folder).message


@PLAIN_SOURCES
def test_a_source_may_change_only_before_it_is_opened(
    cache: CacheFixture, tmp_path: Path, source: str
) -> None:
    path = SOURCES[source](cache, tmp_path)
    found = open_cache(path, arch=AMD64).cache
    blob = max(found.blobs.values(), key=lambda file: file.content.size)
    (extent,) = blob.content.extents
    assert isinstance(extent.source, FileRange)
    flip(extent.source.path, extent.source.offset)
    with pytest.raises(InputError, match="does not match its digest"):
        run_checks(found.checks)
