"""Caches with signatures beside their images, made from FORMATS alone; nothing is fetched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from imager.cache.cache_source import gather_held
from imager.cache.diff import diff_caches
from imager.cache.edit import Wanted, keeping_options, plan_addition, plan_pruning
from imager.cache.images import cached_images, cached_signatures, signed_images
from imager.cache.info import cache_info
from imager.cache.open import open_cache
from imager.cache.verify import verify_cache
from imager.cache.write import write_gathered
from imager.oci.digest import Digest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.signature import signature_tags, signed_digest
from imager.support.arch import AMD64, ARM64
from imager.support.errors import InputError
from imager.support.reporter import ProgressStyle, make_reporter
from tests.lib.caches.caches import (
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    REGISTRY,
    REGISTRY_FOLDER,
    descriptor,
    dump,
    flip,
    make_flat,
    sha256,
    tree_files,
)
from tests.lib.caches.sources import named

REPORTER = make_reporter(ProgressStyle.NONE)
HEX = "0123456789abcdef" * 4
EMPTY = "application/vnd.oci.empty.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


def base(folder: Path, number: int) -> Path:
    return folder / "manifests" / REGISTRY_FOLDER / "team" / f"img{number}"


def root_of(folder: Path, number: int) -> str:
    return sha256((base(folder, number) / "reference/v1").read_bytes())


def put_manifest(folder: Path, number: int, value: Mapping[str, object], *, tag: str = "") -> bytes:
    data = dump(value)
    places = [f"digest/sha256-{sha256(data)}", *([f"reference/{tag}"] if tag else ())]
    for place in places:
        (base(folder, number) / place).write_bytes(data)
    return data


def artifact(folder: Path, *layers: bytes, kind: str) -> dict[str, object]:
    """Put the blobs of an artifact, and return its manifest."""
    for blob in (b"{}", *layers):
        (folder / "blob" / f"sha256-{sha256(blob)}").write_bytes(blob)
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": kind,
        "config": descriptor(EMPTY, b"{}"),
        "layers": [descriptor(kind, layer) for layer in layers],
    }


def sign(folder: Path, number: int, *, text: str = "", signed: str = "") -> None:
    """Put both kinds of signatures of an image, or of what has the digest `signed`."""
    signed = signed or root_of(folder, number)
    layer = f"signature of {number} {signed} {text}".encode()
    value = artifact(folder, layer, kind=SIMPLE_SIGNING)
    put_manifest(folder, number, value, tag=f"sha256-{signed}.sig")
    # An index of referrers names what it likes, also a platform that no image of the cache is for.
    value = artifact(folder, b"sbom" + layer, kind="application/spdx+json")
    entry = descriptor(
        MANIFEST_TYPE,
        put_manifest(folder, number, value),
        platform={"os": "linux", "architecture": "s390x"},
        artifactType="application/spdx+json",
    )
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    put_manifest(folder, number, index, tag=f"sha256-{signed}")


@pytest.fixture(name="plain")
def plain_cache(tmp_path: Path) -> Path:
    return make_flat(tmp_path / "plain", images=2, blob_size=5000).folder


@pytest.fixture(name="signed")
def signed_cache(tmp_path: Path, plain: Path) -> Path:
    folder = tmp_path / "signed"
    shutil.copytree(plain, folder)
    for number in (0, 1):
        sign(folder, number)
    return folder


def problems(folder: Path) -> tuple[str, ...]:
    found = verify_cache(lambda fail: open_cache(folder, fail=fail), reporter=REPORTER)
    assert found.notes == ()
    return found.problems


def test_the_tags() -> None:
    assert signature_tags(Digest(HEX)) == (f"sha256-{HEX}.sig", f"sha256-{HEX}")
    assert [signed_digest(tag) for tag in signature_tags(Digest(HEX))] == [Digest(HEX)] * 2


@pytest.mark.parametrize(
    "tag",
    [
        *(None, "", "v1", f"sha256-{HEX[1:]}", f"sha256-{HEX}0", f"sha256-{HEX}.att"),
        *(f"sha256-{HEX}.sig.sig", f"sha256-{HEX.upper()}", f"sha512-{HEX}", f"xsha256-{HEX}"),
        f"sha256-{HEX}.sig\n",
    ],
)
def test_other_tags(tag: str | None) -> None:
    assert signed_digest(tag) is None


def test_signatures_are_no_images(plain: Path, signed: Path) -> None:
    cache = open_cache(signed, arch=AMD64).cache
    assert cache.images == open_cache(plain, arch=AMD64).cache.images == named(0, 1)
    assert cache.platforms == (Platform("linux", "amd64"),)
    assert cache.foreign(AMD64) == ()
    with pytest.raises(InputError, match="has no manifest for linux/arm64") as caught:
        cache.require_arch(ARM64)
    assert "sha256-" not in caught.value.message
    assert [str(each.reference) for each in cached_signatures(cache)] == [
        f"{name.name}:{tag}"
        for number, name in enumerate(named(0, 1))
        for tag in sorted(signature_tags(Digest(root_of(signed, number))))
    ]


def test_an_image_may_be_tagged_by_its_own_digest(plain: Path) -> None:
    root = (base(plain, 0) / "reference/v1").read_bytes()
    tag = f"sha256-{sha256(root)}"
    (base(plain, 0) / "reference" / tag).write_bytes(root)
    cache = open_cache(plain, arch=AMD64).cache
    assert {each.tag for each in cache.images} == {"v1", tag}
    assert cache.signatures == {}


def test_an_image_whose_tag_names_what_is_not_there_is_an_image(plain: Path) -> None:
    root = (base(plain, 0) / "reference/v1").read_bytes()
    (base(plain, 0) / f"reference/sha256-{HEX}").write_bytes(root)
    assert len(open_cache(plain, arch=AMD64).cache.images) == 3


def test_numbers(signed: Path, tmp_path: Path) -> None:
    info = cache_info(open_cache(signed), scratch=tmp_path)
    assert (len(info.images), len(info.signatures), info.unreferenced) == (2, 4, ())
    found = verify_cache(lambda fail: open_cache(signed, fail=fail), reporter=REPORTER)
    assert (found.images, found.signatures, found.problems, found.notes) == (2, 4, (), ())


def test_a_missing_blob_is_damage_and_does_not_keep_from_building(signed: Path) -> None:
    tag = f"sha256-{root_of(signed, 0)}.sig"
    manifest = json.loads((base(signed, 0) / "reference" / tag).read_bytes())
    digest = manifest["layers"][0]["digest"]
    (signed / "blob" / digest.replace(":", "-")).unlink()
    open_cache(signed, arch=AMD64)
    assert problems(signed) == (f"{named(0)[0].name}:{tag} lacks blob {digest}",)


def test_a_missing_manifest_of_an_index_is_damage(signed: Path) -> None:
    tag = f"sha256-{root_of(signed, 0)}"
    index = json.loads((base(signed, 0) / "reference" / tag).read_bytes())
    digest = index["manifests"][0]["digest"]
    (base(signed, 0) / "digest" / digest.replace(":", "-")).unlink()
    open_cache(signed, arch=AMD64)
    found = verify_cache(lambda fail: open_cache(signed, fail=fail), reporter=REPORTER)
    assert found.problems == (f"{named(0)[0].name}:{tag} lacks manifest {digest}",)


def test_a_damaged_blob_is_told(signed: Path) -> None:
    tag = f"sha256-{root_of(signed, 0)}.sig"
    manifest = json.loads((base(signed, 0) / "reference" / tag).read_bytes())
    digest = manifest["layers"][0]["digest"]
    flip(signed / "blob" / digest.replace(":", "-"))
    assert any(digest in check.what for check in open_cache(signed, arch=AMD64).cache.checks)
    (problem,) = problems(signed)
    assert digest in problem


def test_differences(plain: Path, signed: Path) -> None:
    old, new = open_cache(plain).cache, open_cache(signed).cache
    there = diff_caches(old, new)
    assert (there.removed, there.added, there.changed) == ((), (), ())
    assert [str(each.name) for each in there.signatures] == [
        str(each.reference) for each in cached_signatures(new)
    ]
    assert all(each.old is None and each.new for each in there.signatures)
    assert all(each.old and each.new is None for each in diff_caches(new, old).signatures)
    assert diff_caches(new, new).same


def test_only_a_tag_differs(signed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(signed, other)
    for place in base(other, 0).glob("reference/*.sig"):
        place.unlink()
    diff = diff_caches(open_cache(signed).cache, open_cache(other).cache)
    assert (len(diff.signatures), diff.blobs_removed, diff.same) == (1, {}, False)


def prune(folder: Path, wanted: Wanted) -> dict[str, bytes]:
    opened = open_cache(folder)
    pruning = plan_pruning(opened, wanted)
    options = keeping_options(opened, jobs=1)
    write_gathered(pruning.gathered, folder, options=options, reporter=REPORTER)
    assert problems(folder) == ()
    return tree_files(folder)


def test_nothing_is_taken_out_without_need(signed: Path) -> None:
    assert not plan_pruning(open_cache(signed), Wanted()).changes


@pytest.mark.parametrize("wanted", [Wanted(remove=named(1)), Wanted(keep=named(0))])
def test_signatures_go_with_their_image(signed: Path, tmp_path: Path, wanted: Wanted) -> None:
    expected = make_flat(tmp_path / "expected", images=1, blob_size=5000).folder
    sign(expected, 0)
    assert prune(signed, wanted) == tree_files(expected)


def test_signatures_stay_while_one_of_an_images_tags_does(signed: Path) -> None:
    before = tree_files(signed)
    root = (base(signed, 0) / "reference/v1").read_bytes()
    (base(signed, 0) / "reference/v2").write_bytes(root)
    again = Reference.parse(f"{REGISTRY}/team/img0:v2")
    assert prune(signed, Wanted(remove=[again])) == before


def test_signatures_of_a_platforms_manifest_go_with_it(tmp_path: Path) -> None:
    arches = ("amd64", "arm64")
    folder = make_flat(tmp_path / "cache", images=1, blob_size=5000, arches=arches).folder
    sign(folder, 0)
    index = json.loads((base(folder, 0) / "reference/v1").read_bytes())
    amd64, arm64 = (each["digest"].partition(":")[2] for each in index["manifests"])
    sign(folder, 0, signed=amd64)
    kept = tree_files(folder)
    sign(folder, 0, signed=arm64)
    left = prune(folder, Wanted(platforms=[Platform("linux", "amd64")]))
    assert left.keys() < kept.keys()
    tags = {Path(path).name for path in left if "/reference/sha256-" in path}
    assert tags == {*signature_tags(Digest(root_of(folder, 0))), *signature_tags(Digest(amd64))}


def add(folder: Path, other: Path) -> bool:
    opened, whole = open_cache(folder), open_cache(other).cache
    fetched = gather_held(whole, signed_images(whole, cached_images(whole)))
    addition = plan_addition(opened, fetched)
    options = keeping_options(opened, jobs=1)
    write_gathered(addition.gathered, folder, options=options, reporter=REPORTER)
    assert problems(folder) == ()
    return addition.changes


def test_signatures_come_with_an_image_that_is_there(plain: Path, signed: Path) -> None:
    expected = tree_files(signed)
    assert add(plain, signed)
    assert tree_files(plain) == expected
    assert not add(plain, signed)


def test_signatures_that_are_there_stay(plain: Path, signed: Path) -> None:
    expected = tree_files(signed)
    assert not add(signed, plain)
    assert tree_files(signed) == expected


def test_new_signatures_take_the_place_of_old_ones(
    plain: Path, signed: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(plain, newer)
    for number in (0, 1):
        sign(newer, number, text="again")
    assert add(signed, newer)
    assert tree_files(signed) == tree_files(newer)


def test_what_signed_an_image_that_moved_goes(signed: Path, tmp_path: Path) -> None:
    moved = make_flat(tmp_path / "moved", images=2, blob_size=4000).folder
    assert add(signed, moved)
    assert tree_files(signed) == tree_files(moved)


def test_a_blob_of_two_uses_is_kept(signed: Path) -> None:
    """An image whose layer is what a signature is made of, too."""
    shared = b"{}"
    config = dump({"os": "linux", "architecture": "amd64"})
    for blob in (shared, config):
        (signed / "blob" / f"sha256-{sha256(blob)}").write_bytes(blob)
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor(LAYER_TYPE, shared)],
    }
    put_manifest(signed, 0, value, tag="small")
    small = Reference.parse(f"{REGISTRY}/team/img0:small")
    left = prune(signed, Wanted(keep=[small]))
    assert {path for path in left if path.startswith("blob/")} == {
        f"blob/sha256-{sha256(blob)}" for blob in (shared, config)
    }
