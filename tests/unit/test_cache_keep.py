"""Adding to and pruning caches that were made from FORMATS alone; nothing is fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from imager.cache.archiving import ArchiveFormat
from imager.cache.cache_source import HeldImage, gather_held
from imager.cache.contents import BlobSource, Gathered
from imager.cache.edit import (
    Pruning,
    Wanted,
    keeping_options,
    plan_addition,
    plan_pruning,
)
from imager.cache.hardlinks import drop_links, try_link
from imager.cache.images import cached_images
from imager.cache.open import open_cache
from imager.cache.opened import OpenedCache
from imager.cache.plan import CacheLayout, CreateOptions, LayerCompression
from imager.cache.write import write_gathered
from imager.content.extents import Content, FileRange
from imager.oci.digest import Digest
from imager.oci.errors import NotFoundError
from imager.oci.manifest import Descriptor, RawManifest
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.source import ByteSink
from imager.support.errors import InputError, UnsupportedError
from imager.support.reporter import ProgressStyle, make_reporter
from tests.lib.caches.caches import (
    INDEX_TYPE,
    REGISTRY_FOLDER,
    CacheFixture,
    cut,
    dump,
    flip,
    layout_blobs,
    make_flat,
    make_layout,
    make_tar,
    sha256,
    tree_files,
)
from tests.lib.caches.sources import named

REPORTER = make_reporter(ProgressStyle.NONE)
ARM64 = Platform("linux", "arm64")
PACKINGS = (
    CreateOptions(CacheLayout.OCI),
    CreateOptions(CacheLayout.OCI, LayerCompression.GZIP),
    CreateOptions(CacheLayout.OCI, LayerCompression.ZSTD),
    CreateOptions(CacheLayout.FLAT),
)
EVERY_PACKING = pytest.mark.parametrize(
    "packing", PACKINGS, ids=lambda each: f"{each.layout.value}-{each.compression.value}"
)


def held(opened: OpenedCache, names: Sequence[Reference]) -> Gathered:
    images = cached_images(opened.cache)
    return gather_held(opened.cache, [each for each in images if each.reference in names])


@pytest.fixture(name="whole")
def whole_cache(tmp_path: Path) -> OpenedCache:
    """A flat cache of four images of two platforms, the source of all others."""
    flat = make_flat(tmp_path / "whole", images=4, blob_size=5000, arches=("amd64", "arm64"))
    return open_cache(flat.folder)


def make(
    whole: OpenedCache, path: Path, names: Sequence[Reference], packing: CreateOptions
) -> Path:
    write_gathered(held(whole, names), path, options=packing, reporter=REPORTER)
    return path


def add(path: Path, fetched: Gathered) -> None:
    opened = open_cache(path)
    addition = plan_addition(opened, fetched)
    options = keeping_options(opened, jobs=2)
    write_gathered(addition.gathered, path, options=options, reporter=REPORTER)


def prune(path: Path, wanted: Wanted) -> Pruning:
    opened = open_cache(path)
    pruning = plan_pruning(opened, wanted)
    options = keeping_options(opened, jobs=2)
    write_gathered(pruning.gathered, path, options=options, reporter=REPORTER)
    return pruning


class Refusing:
    """An image source that nothing may be asked of."""

    @property
    def warnings(self) -> tuple[str, ...]:
        raise AssertionError

    def root(self) -> RawManifest:
        raise AssertionError

    def manifest(self, target: str | Digest) -> RawManifest:
        raise AssertionError(target)

    def blob_content(self, blob: Descriptor) -> Content | None:
        raise AssertionError(blob)

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        raise AssertionError(blob)


def unfetchable(gathered: Gathered, digests: Iterable[Digest]) -> Gathered:
    for digest in digests:
        gathered.blobs[digest] = BlobSource(gathered.blobs[digest].blob, Refusing())
    return gathered


@EVERY_PACKING
def test_adding_and_pruning_give_what_creating_gives(
    whole: OpenedCache, tmp_path: Path, packing: CreateOptions
) -> None:
    path = make(whole, tmp_path / "cache", named(0, 2), packing)
    before = tree_files(path)
    expected = tree_files(make(whole, tmp_path / "scratch", named(0, 1, 2, 3), packing))

    add(path, held(whole, named(1, 3)))
    assert tree_files(path) == expected

    pruning = prune(path, Wanted(keep=named(0, 2)))
    assert tree_files(path) == before
    assert [image.reference for image in pruning.removed] == list(named(1, 3))

    add(path, held(whole, named(1, 3)))
    prune(path, Wanted(remove=named(3, 1)))
    assert tree_files(path) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache", "scratch", "whole"]


@EVERY_PACKING
def test_pruning_platforms_gives_what_creating_for_the_others_gives(
    tmp_path: Path, packing: CreateOptions
) -> None:
    # The index names both platforms in either case; a cache for one lacks the other's files.
    both = make_flat(tmp_path / "both", arches=("amd64", "arm64"), blob_size=3000)
    path = make(open_cache(both.folder), tmp_path / "cache", named(0, 1, 2), packing)
    removed = [blob for blob in both.blobs if b'"arm64"' in blob.read_bytes()]
    for manifest in both.folder.rglob("digest/*"):
        if INDEX_TYPE.encode() not in manifest.read_bytes() and any(
            config.name.replace("-", ":").encode() in manifest.read_bytes() for config in removed
        ):
            manifest.unlink()
    one = open_cache(both.folder)
    expected = make(one, tmp_path / "expected", named(0, 1, 2), packing)

    prune(path, Wanted(platforms=(Platform("linux", "amd64"),)))

    assert tree_files(path) == tree_files(expected)


def test_what_is_there_is_not_asked_for(whole: OpenedCache, tmp_path: Path) -> None:
    path = make(whole, tmp_path / "cache", named(0), CreateOptions())
    fetched = held(whole, named(0, 1))
    add(path, unfetchable(fetched, held(whole, named(0)).blobs))
    assert len(open_cache(path).cache.images) == 2


def test_nothing_to_add_or_take_out(whole: OpenedCache, tmp_path: Path) -> None:
    opened = open_cache(make(whole, tmp_path / "cache", named(0, 1), CreateOptions()))
    addition = plan_addition(opened, held(whole, named(1)))
    assert (addition.changes, addition.moved, addition.blobs_added) == (False, (), ())
    pruning = plan_pruning(opened, Wanted())
    assert (pruning.changes, pruning.freed, pruning.removed) == (False, 0, ())


def moved_index(cache: CacheFixture, number: int) -> None:
    """Let the tag of an image lead to another index: the same entries, another spelling."""
    base = cache.folder / "manifests" / REGISTRY_FOLDER / "team" / f"img{number}"
    old = (base / "reference" / "v1").read_bytes()
    new = old + b"\n"
    (base / "digest" / f"sha256-{sha256(old)}").unlink()
    (base / "reference" / "v1").write_bytes(new)
    (base / "digest" / f"sha256-{sha256(new)}").write_bytes(new)


@EVERY_PACKING
def test_a_tag_that_moved_is_replaced_with_what_belonged_to_it(
    whole: OpenedCache, tmp_path: Path, packing: CreateOptions
) -> None:
    path = make(whole, tmp_path / "cache", named(0, 1), packing)
    other = make_flat(tmp_path / "other", images=2, blob_size=7000)
    fetched = held(open_cache(other.folder), named(1))
    expected = held(whole, named(0))
    expected.manifests |= fetched.manifests
    expected.blobs |= fetched.blobs
    expected.platforms |= fetched.platforms
    write_gathered(expected, tmp_path / "expected", options=packing, reporter=REPORTER)

    moved = plan_addition(open_cache(path), fetched).moved
    add(path, fetched)

    assert [image.reference for image in moved] == list(named(1))
    assert tree_files(path) == tree_files(tmp_path / "expected")


def test_platforms_of_an_image_come_together_when_its_tag_is_the_same(
    whole: OpenedCache, tmp_path: Path
) -> None:
    path = make(whole, tmp_path / "cache", named(0), CreateOptions())
    both = tree_files(path)
    prune(path, Wanted(platforms=[ARM64]))
    assert tree_files(path) != both
    add(path, held(whole, named(0)))
    assert tree_files(path) == both


def test_another_index_of_the_same_parts_has_moved(whole: OpenedCache, tmp_path: Path) -> None:
    path = make(whole, tmp_path / "cache", named(0), CreateOptions())
    same = make_flat(tmp_path / "same", images=1, blob_size=5000, arches=("amd64", "arm64"))
    moved_index(same, 0)
    addition = plan_addition(open_cache(path), held(open_cache(same.folder), named(0)))
    assert [image.reference for image in addition.moved] == list(named(0))
    assert addition.changes
    assert addition.blobs_added == ()


def test_unchanged_files_of_a_flat_tree_are_linked(whole: OpenedCache, tmp_path: Path) -> None:
    path = make(whole, tmp_path / "cache", named(0), CreateOptions(CacheLayout.FLAT))
    inodes = {blob.name: blob.stat().st_ino for blob in (path / "blob").iterdir()}
    add(path, held(whole, named(1)))
    after = {blob.name: blob.stat() for blob in (path / "blob").iterdir()}
    assert {name: after[name].st_ino for name in inodes} == inodes
    assert {stat.st_nlink for stat in after.values()} == {1}
    # What lies elsewhere is another's: it is copied.
    others = {blob.stat().st_ino for blob in Path(whole.cache.source, "blob").iterdir()}
    assert not others & {stat.st_ino for stat in after.values()}


def test_where_links_fail_files_are_copied(
    whole: OpenedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = CreateOptions(CacheLayout.FLAT)
    path = make(whole, tmp_path / "cache", named(0), flat)
    expected = tree_files(make(whole, tmp_path / "expected", named(0, 1), flat))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    add(path, held(whole, named(1)))
    assert tree_files(path) == expected


@pytest.mark.parametrize("packing", [PACKINGS[0], PACKINGS[3]], ids=["oci", "flat"])
@pytest.mark.parametrize("change", [add, prune])
def test_a_damaged_blob_is_not_taken_over(
    whole: OpenedCache, tmp_path: Path, packing: CreateOptions, change: Callable[..., object]
) -> None:
    path = make(whole, tmp_path / "cache", named(0, 1), packing)
    blob = max(held(whole, named(0)).blobs.values(), key=lambda source: source.blob.size).blob
    content = open_cache(path).cache.blobs[blob.digest].content
    place = content.extents[0].source
    assert isinstance(place, FileRange)
    flip(place.path, place.offset + 1000)
    damaged = tree_files(path)

    with pytest.raises(InputError, match=str(blob.digest)):
        change(path, held(whole, named(2)) if change is add else Wanted(remove=named(1)))
    assert tree_files(path) == damaged
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache", "whole"]


def test_adding_an_image_again_brings_a_blob_that_was_missing(
    whole: OpenedCache, tmp_path: Path
) -> None:
    path = make(whole, tmp_path / "cache", named(0, 1), CreateOptions(CacheLayout.FLAT))
    good = tree_files(path)
    digest = min(held(whole, named(0)).blobs)
    (path / "blob" / digest.file_name).unlink()
    with pytest.raises(NotFoundError, match=str(digest)):
        add(path, held(whole, named(2)))
    add(path, held(whole, named(0)))
    assert tree_files(path) == good


def test_blobs_that_no_image_needs_go(whole: OpenedCache, tmp_path: Path) -> None:
    flat = make(whole, tmp_path / "flat", named(0), CreateOptions(CacheLayout.FLAT))
    good = tree_files(flat)
    stray = b"of no image"
    (flat / "blob" / f"sha256-{sha256(stray)}").write_bytes(stray)
    pruning = prune(flat, Wanted())
    assert (pruning.freed, len(pruning.blobs_dropped)) == (len(stray), 1)
    assert tree_files(flat) == good

    layout = make(whole, tmp_path / "layout", named(0), CreateOptions())
    good = tree_files(layout)
    (layout / "blobs/sha256" / sha256(stray)).write_bytes(stray)
    pruning = prune(layout, Wanted())
    assert (pruning.changes, pruning.freed) == (True, len(stray))
    assert tree_files(layout) == good


def test_what_pruning_frees(whole: OpenedCache, tmp_path: Path) -> None:
    path = make(whole, tmp_path / "cache", named(0, 1), CreateOptions(CacheLayout.FLAT))
    size = sum(map(len, tree_files(path).values()))
    pruning = prune(path, Wanted(remove=named(1)))
    assert pruning.freed == size - sum(map(len, tree_files(path).values()))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(keep=named(0, 9)), "has no image registry.local:5000/team/img9:v1"),
        (Wanted(remove=named(8, 9)), "img8:v1, registry.local:5000/team/img9:v1"),
        (Wanted(remove=named(0, 1)), "no image would be left"),
        (Wanted(platforms=[Platform("linux", "riscv64")]), "no variant for linux/riscv64"),
    ],
)
def test_pruning_that_cannot_be(
    whole: OpenedCache, tmp_path: Path, wanted: Wanted, said: str
) -> None:
    path = make(whole, tmp_path / "cache", named(0, 1), CreateOptions())
    with pytest.raises(InputError, match=said):
        plan_pruning(open_cache(path), wanted)


def test_an_image_is_named_by_its_digest_too(whole: OpenedCache, tmp_path: Path) -> None:
    path = make(whole, tmp_path / "cache", named(0, 1), CreateOptions())
    opened = open_cache(path)
    first, _ = cached_images(opened.cache)
    by_digest = Reference.parse(f"{first.reference.name}@{first.root.digest}")
    both = Reference.parse(f"{first.reference}@{first.root.digest}")
    for name in (by_digest, both):
        kept = plan_pruning(opened, Wanted(keep=[name]))
        assert [image.reference for image in kept.removed] == list(named(1))
    wrong = Reference.parse(f"{first.reference}@sha256:{'0' * 64}")
    with pytest.raises(InputError, match="has no image"):
        plan_pruning(opened, Wanted(keep=[wrong]))


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_a_tar_stays_one(tmp_path: Path, codec: str | None) -> None:
    tar = make_tar(make_flat(tmp_path / "flat"), tmp_path / "cache.tar", codec=codec)
    options = keeping_options(open_cache(tar), jobs=1)
    archive = ArchiveFormat.TAR if codec is None else ArchiveFormat.GZIP
    assert options == CreateOptions(CacheLayout.FLAT, jobs=1, archive=archive)


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
def test_a_layout_keeps_its_compression(tmp_path: Path, codec: str | None) -> None:
    layout = make_layout(make_flat(tmp_path / "flat"), tmp_path / "layout", codec=codec)
    options = keeping_options(open_cache(layout), jobs=7)
    assert options == CreateOptions(CacheLayout.OCI, LayerCompression(codec or "none"), 7)


def test_a_layout_of_several_caches_is_refused(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat")
    layout = make_layout(flat, tmp_path / "layout", platforms=("amd64", "arm64"))
    assert open_cache(layout).entries == (Platform("linux", "amd64"), ARM64)
    other = make_layout(make_flat(tmp_path / "other", images=1), tmp_path / "b")
    shutil.copytree(other / "blobs", layout / "blobs", dirs_exist_ok=True)
    index = (layout / "index.json").read_bytes()
    digests = [layout_blobs(each)["manifest"].name.encode() for each in (layout, other)]
    position = index.rindex(digests[0])
    (layout / "index.json").write_bytes(
        index[:position] + digests[1] + index[position + len(digests[1]) :]
    )
    with pytest.raises(UnsupportedError, match="2 caches, for linux/amd64, linux/arm64"):
        open_cache(layout)


class _Kept:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


@EVERY_PACKING
def test_a_cache_is_a_source_of_images(
    whole: OpenedCache, tmp_path: Path, packing: CreateOptions
) -> None:
    opened = open_cache(make(whole, tmp_path / "cache", named(0), packing))
    (image,) = cached_images(opened.cache)
    source = HeldImage(opened.cache, image)
    assert source.root() == source.manifest("v1") == source.manifest(image.root.digest)
    with pytest.raises(NotFoundError, match="no manifest v2"):
        source.manifest("v2")
    for blob in image.blobs.values():
        data = Path(whole.cache.source, "blob", blob.digest.file_name).read_bytes()
        whole_sink, rest = _Kept(), _Kept()
        source.fetch_blob(blob, whole_sink)
        source.fetch_blob(blob, rest, have=[data[:7]])
        assert (whole_sink.data, rest.data) == (data, data[7:])
        with pytest.raises(InputError, match="bytes"):
            source.blob_content(Descriptor(blob.media_type, blob.digest, blob.size + 1))
    with pytest.raises(NotFoundError, match="lacks blob"):
        source.blob_content(Descriptor("x", Digest.of(b"not there"), 9))


def test_a_truncated_layer_is_not_changed(whole: OpenedCache, tmp_path: Path) -> None:
    path = make(whole, tmp_path / "cache", named(0), CreateOptions())
    cut(layout_blobs(path)["layer"])
    with pytest.raises(InputError, match="its descriptor says"):
        open_cache(path)
    assert os.listdir(path / "blobs")  # noqa: PTH208


def test_a_link_in_a_flat_tree_is_refused(whole: OpenedCache, tmp_path: Path) -> None:
    path = make(whole, tmp_path / "cache", named(0), CreateOptions(CacheLayout.FLAT))
    (path / "blob" / f"sha256-{sha256(dump({}))}").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="is a link"):
        open_cache(path)


def test_what_an_earlier_run_linked_is_not_written_to(whole: OpenedCache, tmp_path: Path) -> None:
    cache, left = make(whole, tmp_path / "cache", named(0), PACKINGS[3]), tmp_path / "left"
    (left / "blob").mkdir(parents=True)
    blob = next((cache / "blob").iterdir())
    linked, own = left / "blob" / blob.name, left / "blob" / "own"
    own.write_bytes(b"own")
    assert try_link(blob, linked)
    assert try_link(blob, linked)
    drop_links(left)
    assert [path.name for path in (left / "blob").iterdir()] == ["own"]
    assert blob.stat().st_nlink == 1
