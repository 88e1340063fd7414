from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from imager.cache.cache import ImageCache
from imager.cache.load import load_cache
from imager.cache.open import open_cache
from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.oci.reference import Reference
from imager.support.arch import AMD64, ARM64
from imager.support.errors import InputError
from tests.lib.caches.caches import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    REGISTRY,
    descriptor,
    dump,
    image_manifest,
    make_flat,
    sha256,
)

CONFIG = dump({"architecture": "amd64", "os": "linux"})
LAYER = b"layer"
MANIFEST = image_manifest(CONFIG, [LAYER])
HEX = sha256(MANIFEST)
BLOBS = {f"blob/sha256-{sha256(data)}": data for data in (CONFIG, LAYER)}


def load(files: Mapping[str, bytes]) -> ImageCache:
    return load_cache(
        "test",
        Tree.of(File(path, Content.of_bytes(data)) for path, data in files.items()),
    )


def manifests(name: str, *tags: str) -> dict[str, bytes]:
    base = f"manifests/{name}"
    places = [*(f"{base}/reference/{tag}" for tag in tags), f"{base}/digest/sha256-{HEX}"]
    return dict.fromkeys(places, MANIFEST)


def names(cache: ImageCache) -> list[str]:
    return [str(reference) for reference in cache.images]


def test_an_image_of_one_platform() -> None:
    cache = load(BLOBS | manifests("quay.io/a", "v1"))
    cache.require_arch(AMD64)
    assert names(cache) == ["quay.io/a:v1"]
    assert [str(platform) for platform in cache.platforms] == ["linux/amd64"]


def test_an_image_of_another_platform() -> None:
    cache = load(BLOBS | manifests("quay.io/a", "v1"))
    assert cache.foreign(AMD64) == ()
    assert cache.foreign(ARM64) == cache.images
    with pytest.raises(InputError, match="has no image for arm64, only for linux/amd64"):
        cache.require_arch(ARM64)


def test_a_configuration_that_tells_no_platform_goes_for_any() -> None:
    config = dump({})
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [descriptor(LAYER_TYPE, LAYER)],
        }
    )
    blobs = {f"blob/sha256-{sha256(data)}": data for data in (config, LAYER)}
    base = "manifests/quay.io/a"
    tags = dict.fromkeys(
        (f"{base}/reference/v1", f"{base}/digest/sha256-{sha256(manifest)}"), manifest
    )
    cache = load(blobs | tags)
    cache.require_arch(ARM64)
    assert cache.platforms == ()


def test_a_configuration_that_is_not_what_its_digest_says() -> None:
    files = BLOBS | {f"blob/sha256-{sha256(CONFIG)}": CONFIG.replace(b"amd64", b"arm64")}
    with pytest.raises(
        InputError, match=f"{sha256(CONFIG)} of quay.io/a:v1 does not match its digest"
    ):
        load(files | manifests("quay.io/a", "v1"))


def test_several_tags_of_one_manifest_are_several_images() -> None:
    cache = load(BLOBS | manifests("quay.io/a", "v2", "v1"))
    assert names(cache) == ["quay.io/a:v1", "quay.io/a:v2"]


def test_a_digest_without_a_tag_is_an_image() -> None:
    cache = load(BLOBS | manifests("quay.io/a"))
    assert names(cache) == [f"quay.io/a@sha256:{HEX}"]


def test_one_manifest_in_two_repositories_is_two_images() -> None:
    cache = load(BLOBS | manifests("quay.io/a", "v1") | manifests("quay.io/b"))
    assert names(cache) == ["quay.io/a:v1", f"quay.io/b@sha256:{HEX}"]


def test_a_tag_whose_copy_is_in_another_repository_alone_is_refused() -> None:
    files = BLOBS | manifests("quay.io/b") | {"manifests/quay.io/a/reference/v1": MANIFEST}
    with pytest.raises(InputError, match=r"the manifest of quay.io/a:v1 is damaged"):
        load(files)


def test_required_images_that_are_missing_are_listed_by_name(tmp_path: Path) -> None:
    cache = open_cache(make_flat(tmp_path, images=2, blob_size=9).folder, arch=AMD64).cache
    here = [Reference.parse(f"{REGISTRY}/team/img{n}:v1") for n in (0, 1)]
    cache.require_images(here)
    missing = [Reference.parse(text) for text in ("alpine", f"{REGISTRY}/team/img0:v2")]
    with pytest.raises(InputError) as caught:
        cache.require_images([here[0], *missing, here[1]])
    assert caught.value.message == (
        f"image cache {tmp_path} lacks 2 required images: "
        f"docker.io/library/alpine:latest, {REGISTRY}/team/img0:v2"
    )
    assert "cache-create" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("quay.io/a:v1", True),
        ("quay.io/a:v2", False),
        (f"quay.io/a@sha256:{HEX}", True),
        (f"quay.io/a:other@sha256:{HEX}", True),
        (f"quay.io/b@sha256:{HEX}", False),
        (f"quay.io/a:v1@sha256:{'0' * 64}", False),
    ],
)
def test_what_a_machine_finds(text: str, found: bool) -> None:
    cache = load(BLOBS | manifests("quay.io/a", "v1"))
    assert cache.has(Reference.parse(text)) is found


@pytest.mark.parametrize("change", [b"", b"layer!"])
def test_a_blob_of_another_size_than_its_manifest_says(change: bytes) -> None:
    cache = load(BLOBS | {f"blob/sha256-{sha256(LAYER)}": change} | manifests("quay.io/a", "v1"))
    with pytest.raises(InputError) as caught:
        cache.require_arch(AMD64)
    assert caught.value.message == (
        "image cache test is incomplete for amd64: quay.io/a:v1: blob "
        f"sha256:{sha256(LAYER)} has {len(change)} bytes, not {len(LAYER)}"
    )


def test_only_some_of_many_problems_are_shown() -> None:
    tags = [f"v{number}" for number in range(8)]
    cache = load(manifests("quay.io/a", *tags))
    with pytest.raises(InputError) as caught:
        cache.require_arch(AMD64)
    assert caught.value.message.count("lacks blob") == 5
    assert caught.value.message.endswith("; and 11 more")


def test_an_arch_is_found_under_its_other_name() -> None:
    index = dump(
        {
            "schemaVersion": 2,
            "manifests": [
                descriptor(
                    MANIFEST_TYPE, MANIFEST, platform={"os": "linux", "architecture": "aarch64"}
                )
            ],
        }
    )
    base = "manifests/quay.io/a"
    files = BLOBS | manifests("quay.io/a")
    files |= {f"{base}/reference/v1": index, f"{base}/digest/sha256-{sha256(index)}": index}
    cache = load(files)
    cache.require_arch(ARM64)
    assert names(cache) == ["quay.io/a:v1"]
    assert [str(platform) for platform in cache.platforms] == ["linux/arm64"]
    with pytest.raises(InputError, match="has no manifest for linux/amd64"):
        cache.require_arch(AMD64)
