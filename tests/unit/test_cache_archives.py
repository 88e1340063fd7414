"""Caches in tars: read where they lie, made in one pass, and what is no cache told by name."""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from imager.cache.archiving import (
    ArchiveFormat,
    expected_archive,
    plan_archive,
)
from imager.cache.edit import Wanted, keeping_options, plan_pruning
from imager.cache.image import cache_image
from imager.cache.images import cached_images
from imager.cache.open import open_cache
from imager.cache.opened import CacheKind
from imager.cache.plan import (
    CacheLayout,
    CreateOptions,
    LayerCompression,
    plan_creation,
)
from imager.cache.publish import plan_cache
from imager.cache.verify import verify_cache
from imager.cache.write import check_creatable, write_gathered
from imager.content.digests import run_checks
from imager.content.extents import Content, FileRange
from imager.oci.digest import Digest
from imager.oci.manifest import OCI_LAYER, Descriptor
from imager.oci.platform import Platform
from imager.support.arch import AMD64
from imager.support.errors import HostError, ImagerError, InputError
from imager.support.reporter import ProgressStyle, make_reporter
from tests.lib.caches.caches import (
    LAYER_TYPE,
    CacheFixture,
    compress,
    cut,
    dump,
    flip,
    layout_blobs,
    make_flat,
    make_layout,
    make_layout_of,
    make_tar,
    sha256,
    tar_bytes,
    tree_files,
)
from tests.lib.caches.sources import gathered, read
from tests.lib.caches.tars import PREFIXES, make_archive
from tests.lib.tools.support import content_bytes, open_files

REPORTER = make_reporter(ProgressStyle.NONE)
CODECS = pytest.mark.parametrize("codec", [None, "gzip", "zstd"])


@pytest.fixture(name="flat")
def flat_cache(tmp_path: Path) -> CacheFixture:
    return make_flat(tmp_path / "flat", images=2, blob_size=3000)


def refusal(path: Path) -> ImagerError:
    """Return what both ways to open a cache say; they must say the same."""
    with pytest.raises(ImagerError) as caught:
        open_cache(path, arch=AMD64)
    with pytest.raises(ImagerError) as again:
        open_cache(path)
    assert (again.value.message, again.value.hint) == (caught.value.message, caught.value.hint)
    return caught.value


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("layout", [False, True])
@CODECS
def test_a_tar_is_the_cache_that_is_in_it(
    flat: CacheFixture, tmp_path: Path, prefix: str, layout: bool, codec: str | None
) -> None:
    path = make_archive(flat, tmp_path / "c.tar", layout=layout, prefix=prefix, codec=codec)
    opened = open_cache(path)
    run_checks(open_cache(path, arch=AMD64).cache.checks)
    assert opened.kind is (CacheKind.ARCHIVE if layout else CacheKind.TAR)
    assert (opened.codec and opened.codec.value) == codec
    found = {file.path: read(file.content) for file in opened.cache.files}
    assert found == flat.files
    assert (opened.lacking, opened.cache.ignored) == ((), 0)
    if codec is None:
        sources = [e.source for f in opened.cache.blobs.values() for e in f.content.extents]
        assert all(isinstance(each, FileRange) and each.path == path for each in sources)


@pytest.mark.parametrize("layer", ["gzip", "zstd"])
def test_a_plain_tar_may_have_a_compressed_layer(
    flat: CacheFixture, tmp_path: Path, layer: str
) -> None:
    """As Talos makes it: the stream lies in the middle of the file."""
    path = make_archive(flat, tmp_path / "c.tar", layout=True, prefix="x/", layer=layer)
    cache = open_cache(path, arch=AMD64).cache
    run_checks(cache.checks)
    assert {file.path: read(file.content) for file in cache.files} == flat.files
    # Behind it is something else, which is no part of it.
    made = tmp_path / "made"
    write_gathered(gathered(path), made, options=CreateOptions(CacheLayout.FLAT), reporter=REPORTER)
    assert tree_files(made) == flat.files


@pytest.mark.parametrize("layer", ["gzip", "zstd"])
@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_tar_and_the_layer_in_it_may_be_compressed(
    flat: CacheFixture, tmp_path: Path, layer: str, codec: str
) -> None:
    """As a tar.gz of a folder that Talos's tools made."""
    path = make_archive(flat, tmp_path / "c.tgz", layout=True, layer=layer, codec=codec)
    files = open_cache(path).cache.files  # the temporary file stays as long as these do
    run_checks(open_cache(path, arch=AMD64).cache.checks)
    assert {file.path: read(file.content) for file in files} == flat.files
    made = tmp_path / "made"
    write_gathered(gathered(path), made, options=CreateOptions(CacheLayout.FLAT), reporter=REPORTER)
    assert tree_files(made) == flat.files


def test_temporary_files_go_with_the_cache(
    flat: CacheFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = make_archive(flat, tmp_path / "c.tgz", layout=True, layer="gzip", codec="gzip")
    cache = open_cache(path).cache.readable_in_any_order()
    assert open_files(tmp_path) == 1
    del cache
    gc.collect()
    assert open_files(tmp_path) == 0


def test_no_space_for_a_layer_compressed_twice_names_the_folder(
    flat: CacheFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_archive(flat, tmp_path / "c.tgz", layout=True, layer="gzip", codec="gzip")
    monkeypatch.setattr("imager.oci.plainfile.free_space", lambda _: 100)
    error = refusal(path)
    assert isinstance(error, HostError)
    assert f"no space to decompress {path} in " in error.message
    assert "TMPDIR" in error.hint


@pytest.mark.parametrize("blob", ["layer", "config", "manifest"])
@CODECS
def test_damage_in_an_archive_is_told(
    flat: CacheFixture, tmp_path: Path, blob: str, codec: str | None
) -> None:
    layout = make_layout(flat, tmp_path / "layout")
    damaged = layout_blobs(layout)[blob]
    flip(damaged, 30 if blob != "layer" else damaged.read_bytes().index(flat.blobs[1].read_bytes()))
    path = tmp_path / "c.tar"
    path.write_bytes(compress(tar_bytes(tree_files(layout)), codec))
    found = verify_cache(lambda fail: open_cache(path, fail=fail), reporter=REPORTER)
    assert any("digest" in problem for problem in found.problems)


@CODECS
def test_a_missing_blob_of_an_archive_is_told(
    flat: CacheFixture, tmp_path: Path, codec: str | None
) -> None:
    files = tree_files(make_layout(flat, tmp_path / "layout"))
    layer = f"blobs/sha256/{layout_blobs(tmp_path / 'layout')['layer'].name}"
    path = tmp_path / "c.tar"
    path.write_bytes(compress(tar_bytes({n: d for n, d in files.items() if n != layer}), codec))
    assert "is missing" in refusal(path).message
    path.write_bytes(compress(tar_bytes({**files, layer: files[layer][:-512]}), codec))
    assert "its descriptor says" in refusal(path).message


@pytest.mark.parametrize("name", ["oci-layout", "index.json"])
def test_half_a_layout_is_told(flat: CacheFixture, tmp_path: Path, name: str) -> None:
    files = tree_files(make_layout(flat, tmp_path / "layout"))
    path = tmp_path / "c.tar"
    path.write_bytes(tar_bytes({n: d for n, d in files.items() if n != name}))
    assert f"{name} is missing" in refusal(path).message


@CODECS
def test_an_archive_is_a_layout_like_a_folder(
    flat: CacheFixture, tmp_path: Path, codec: str | None
) -> None:
    files = tree_files(make_layout(flat, tmp_path / "layout"))
    path = tmp_path / "c.tar"
    newer = files | {"oci-layout": b'{"imageLayoutVersion": "2.0.0"}'}
    path.write_bytes(compress(tar_bytes(newer), codec))
    assert "image layout version '2.0.0' is not supported" in refusal(path).message
    index = json.loads(files["index.json"])
    other = files | {"index.json": files[f"blobs/sha256/{index['manifests'][0]['digest'][7:]}"]}
    path.write_bytes(compress(tar_bytes(other), codec))
    assert "is a manifest, not an index" in refusal(path).message


@CODECS
def test_a_damaged_configuration_is_found_when_an_archive_is_opened(
    flat: CacheFixture, tmp_path: Path, codec: str | None
) -> None:
    files = tree_files(make_layout(flat, tmp_path / "layout"))
    config = f"blobs/sha256/{layout_blobs(tmp_path / 'layout')['config'].name}"
    path = tmp_path / "c.tar"
    damaged = files | {config: files[config][:-1] + b"?"}
    path.write_bytes(compress(tar_bytes(damaged), codec))
    found: list[ImagerError] = []
    open_cache(path, fail=found.append)
    (problem,) = found
    assert config.rpartition("/")[2] in problem.message


def test_two_caches_in_a_tar_are_refused(flat: CacheFixture, tmp_path: Path) -> None:
    path = tmp_path / "c.tar"
    files = flat.files
    path.write_bytes(tar_bytes({f"{top}/{n}": d for top in "ba" for n, d in files.items()}))
    assert refusal(path).message == f"{path} has several image caches: a/, b/"


def test_links_in_an_archive_are_told(flat: CacheFixture, tmp_path: Path) -> None:
    path = make_tar(flat, tmp_path / "c.tar")
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("blob/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert "blob/link is a link or a special file" in refusal(path).message


ARCHIVES = pytest.mark.parametrize("archive", ArchiveFormat)
LAYOUTS = pytest.mark.parametrize("layout", CacheLayout)


@ARCHIVES
@LAYOUTS
def test_an_archive_is_made_as_planned(
    flat: CacheFixture, tmp_path: Path, archive: ArchiveFormat, layout: CacheLayout
) -> None:
    path = tmp_path / f"cache{archive.value}"
    options = CreateOptions(layout, archive=archive)
    plan = plan_creation(gathered(flat.folder), path, options)
    made = write_gathered(gathered(flat.folder), path, options=options, reporter=REPORTER)
    plain = path.read_bytes()
    if archive is not ArchiveFormat.TAR:
        plain = content_of(path)
        assert path.stat().st_size < len(plain) + 1000
    assert len(plain) == plan.packing.size
    folder = tmp_path / "folder"
    alike = write_gathered(
        gathered(flat.folder), folder, options=CreateOptions(layout), reporter=REPORTER
    )
    assert made == alike
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        opened = {m.name: tar.extractfile(m) for m in tar if m.isreg()}
        files = {name: file.read() for name, file in opened.items() if file}
        assert {(m.uid, m.gid, m.mtime) for m in tar.getmembers()} == {(0, 0, 0)}
    assert files == tree_files(folder)
    assert sorted(os.listdir(tmp_path)) == sorted(["flat", "folder", path.name])  # noqa: PTH208
    again = tmp_path / f"again{archive.value}"
    write_gathered(gathered(path), again, options=options, reporter=REPORTER)
    assert again.read_bytes() == path.read_bytes()


def content_of(path: Path) -> bytes:
    import zstandard

    data = path.read_bytes()
    if path.name.endswith(".gz"):
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()


@ARCHIVES
@LAYOUTS
def test_an_archive_is_pruned_in_place(
    flat: CacheFixture, tmp_path: Path, archive: ArchiveFormat, layout: CacheLayout
) -> None:
    path = tmp_path / "cache"  # its name says nothing
    options = CreateOptions(layout, jobs=1, archive=archive)
    write_gathered(gathered(flat.folder), path, options=options, reporter=REPORTER)
    opened = open_cache(path)
    assert keeping_options(opened, jobs=1) == options
    assert not plan_pruning(opened, Wanted()).changes
    pruning = plan_pruning(opened, Wanted(remove=[cached_images(opened.cache)[0].reference]))
    write_gathered(pruning.gathered, path, options=options, reporter=REPORTER)
    fresh = make_flat(tmp_path / "fresh", images=2, blob_size=3000)
    left = plan_pruning(
        open_cache(fresh.folder),
        Wanted(remove=[cached_images(opened.cache)[0].reference]),
    )
    write_gathered(left.gathered, tmp_path / "wanted", options=options, reporter=REPORTER)
    assert path.read_bytes() == (tmp_path / "wanted").read_bytes()


@CODECS
def test_an_archive_of_talos_is_pruned_to_a_plain_layer(
    flat: CacheFixture, tmp_path: Path, codec: str | None
) -> None:
    path = make_archive(flat, tmp_path / "c.tar", layout=True, layer="gzip", codec=codec)
    options = keeping_options(open_cache(path), jobs=1)
    assert options.archive and (options.archive.codec and options.archive.codec.value) == codec
    assert options.compression is LayerCompression.NONE


def test_archives_by_their_names(tmp_path: Path) -> None:
    assert ArchiveFormat.named(Path("c.tar")) is ArchiveFormat.TAR
    assert ArchiveFormat.named(Path("C.TAR")) is ArchiveFormat.TAR
    assert ArchiveFormat.named(Path("c.tar.gz")) is ArchiveFormat.GZIP
    assert ArchiveFormat.named(Path("c.tar.zst")) is ArchiveFormat.ZSTD
    assert ArchiveFormat.named(Path("image-cache.oci")) is None
    assert ArchiveFormat.named(Path("cache.d")) is None
    for name in ("c.tar.xz", "c.tgz", "c.tar.bz2", "c.tzst", "c2.zip", "c.IMG", "c.gz"):
        with pytest.raises(InputError, match="unknown archive format") as caught:
            ArchiveFormat.named(tmp_path / name)
        assert "*.tar, *.tar.gz, *.tar.zst" in caught.value.hint
        (tmp_path / name).mkdir()
        assert ArchiveFormat.named(tmp_path / name) is None


@LAYOUTS
def test_a_layer_in_an_archive_is_not_compressed(
    flat: CacheFixture, tmp_path: Path, layout: CacheLayout
) -> None:
    options = CreateOptions(layout, LayerCompression.ZSTD, archive=ArchiveFormat.TAR)
    with pytest.raises(
        InputError, match="the layer of a cache in a tar cannot be compressed"
    ) as caught:
        plan_creation(gathered(flat.folder), tmp_path / "c.tar", options)
    assert ".tar.zst" in caught.value.hint


def test_what_an_archive_may_replace(flat: CacheFixture, tmp_path: Path) -> None:
    path = make_archive(flat, tmp_path / "c.tar", layout=True, prefix="./x/", codec="gzip")
    with pytest.raises(InputError, match="exists already"):
        check_creatable(path, force=False, archive=ArchiveFormat.TAR)
    check_creatable(path, force=True, archive=ArchiveFormat.TAR)
    check_creatable(make_tar(flat, tmp_path / "d.tar"), force=True, archive=ArchiveFormat.TAR)
    cut(path)
    check_creatable(path, force=True, archive=ArchiveFormat.TAR)
    for data in (b"", b"text", tar_bytes({"home/user/notes": b"x"})):
        path.write_bytes(data)
        with pytest.raises(InputError, match="is not an image cache, so --force"):
            check_creatable(path, force=True, archive=ArchiveFormat.TAR)
    with pytest.raises(InputError, match=r"is a folder, but a path that ends in \.tar"):
        check_creatable(flat.folder, force=True, archive=ArchiveFormat.TAR)
    with pytest.raises(InputError, match="is not an image cache, so --force"):
        check_creatable(tmp_path / "d.tar", force=True)


def test_a_full_disk_leaves_no_archive(
    flat: CacheFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imager.support.folders.free_space", lambda _: 100)
    with pytest.raises(HostError, match="are needed"):
        write_gathered(
            gathered(flat.folder),
            tmp_path / "c.tar",
            options=CreateOptions(archive=ArchiveFormat.TAR),
            reporter=REPORTER,
        )
    assert os.listdir(tmp_path) == ["flat"]  # noqa: PTH208


def test_an_archive_is_pushed_as_it_is(flat: CacheFixture, tmp_path: Path) -> None:
    layout = make_layout(flat, tmp_path / "layout", codec="gzip", platforms=("amd64", "arm64"))
    path = tmp_path / "c.tar"
    path.write_bytes(tar_bytes(tree_files(layout)))
    plan, wanted = plan_cache(path, reporter=REPORTER), plan_cache(layout, reporter=REPORTER)
    assert [each.digest for each in plan.manifests] == [each.digest for each in wanted.manifests]
    assert {each.blob: read(each.content) for each in plan.blobs} == {
        each.blob: read(each.content) for each in wanted.blobs
    }


@pytest.mark.parametrize("layer", [None, "gzip"])
@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_compressed_archive_is_pushed_as_what_is_in_it(
    flat: CacheFixture, tmp_path: Path, codec: str, layer: str | None
) -> None:
    path = make_archive(flat, tmp_path / "c.tar", layout=True, codec=codec, layer=layer)
    plain = make_archive(flat, tmp_path / "plain.tar", layout=True, layer=layer)
    assert pushed(path) == pushed(plain)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_compressed_tar_of_a_tree_is_pushed(
    flat: CacheFixture, tmp_path: Path, codec: str
) -> None:
    assert pushed(make_tar(flat, tmp_path / "c.tar", codec=codec)) == pushed(flat.folder)


def pushed(path: Path) -> tuple[list[Digest], dict[Digest, bytes]]:
    plan = plan_cache(path, reporter=REPORTER)
    blobs = {each.blob.digest: read(each.content) for each in plan.blobs}
    return [each.digest for each in plan.manifests], blobs


def ordinary_layer() -> bytes:
    return tar_bytes({"bin/sh": b"shell", "etc/passwd": b"root"})


def docker_archive(path: Path, *, layout: bool) -> Path:
    """Make an archive of `docker save`: before Docker 25 or, with a layout in it, after."""
    layer = ordinary_layer()
    config = dump({"rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}"]}})
    listed = [{"Config": "c.json", "RepoTags": ["app:v1"], "Layers": ["l/layer.tar"]}]
    files = {"c.json": config, "l/layer.tar": layer, "manifest.json": dump({"x": listed})}
    if layout:
        made = make_layout_of(path.parent / "image", layer, media_type=LAYER_TYPE)
        files |= tree_files(made)
    path.write_bytes(tar_bytes(files))
    return path


@pytest.mark.parametrize("layout", [False, True])
def test_an_archive_of_docker_save(tmp_path: Path, layout: bool) -> None:
    path = docker_archive(tmp_path / "image.tar", layout=layout)
    error = refusal(path)
    assert error.message == f"{path} is an archive of `docker save`, not an image cache"
    assert f"LIST has the line docker-archive:{path}" in error.hint


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_an_ordinary_image(tmp_path: Path, codec: str | None) -> None:
    layer, kind = compress(ordinary_layer(), codec), LAYER_TYPE + (f"+{codec}" if codec else "")
    folder = make_layout_of(tmp_path / "image", layer, media_type=kind)
    error = refusal(folder)
    assert error.message == f"{folder} is an OCI image, not an image cache"
    assert f"LIST has the line NAME=oci:{folder}" in error.hint
    path = tmp_path / "image.tar"
    path.write_bytes(tar_bytes(tree_files(folder)))
    error = refusal(path)
    assert error.message == f"{path} is an OCI image, not an image cache"
    assert f"LIST has the line NAME=oci-archive:{path}" in error.hint


def test_a_layout_of_several_images(tmp_path: Path) -> None:
    """As skopeo, hauler and zarf make them."""
    entries = []
    for name in ("one", "two"):
        layer = tar_bytes({name: b"x"})
        made = make_layout_of(tmp_path / "image", layer, media_type=LAYER_TYPE, platforms=())
        entries += json.loads((made / "index.json").read_bytes())["manifests"]
    (made / "index.json").write_bytes(dump({"schemaVersion": 2, "manifests": entries}))
    with pytest.raises(InputError) as caught:
        open_cache(made)
    assert caught.value.message == f"{made} has 2 images in its index, so it is not an image cache"
    assert "cache-create" in caught.value.hint


def test_a_cache_without_a_platform_in_its_index(flat: CacheFixture, tmp_path: Path) -> None:
    path = make_layout(flat, tmp_path / "layout", platforms=())
    assert len(open_cache(path).cache.images) == 2


@pytest.mark.parametrize(
    ("data", "what", "hint"),
    [
        (b"", "empty", "OCI layout"),
        (b"registry.k8s.io/pause:3.10\n", "a text file", "cache-create --images"),
        ("# Bilder\nghcr.io/grün:v1\r\n".encode() * 400, "a text file", "cache-create --images"),
        (b"\xef\xbb\xbfkind: Pod\n", "a text file", "cache-create --images"),
        (b"QFI\xfb" + bytes(500), "a disk image in qcow2", "qemu-img convert -O raw"),
        (b"PK\x03\x04" + bytes(500), "a zip archive", "unzip"),
        (b"BZh91AY&SY" + bytes(500), "compressed with bzip2", "bunzip2"),
        (bytes(range(256)) * 40, "neither a tar nor an ISO or disk image", "OCI layout"),
        (
            gzip.compress(b"words\n", mtime=0),
            "a text file, compressed with gzip",
            "cache-create --images",
        ),
        (compress(b"", "zstd"), "empty, compressed with zstd", "OCI layout"),
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, data: bytes, what: str, hint: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    error = refusal(path)
    assert error.message == f"{path} is not an image cache: it is {what}"
    assert hint in error.hint
    assert "{" not in error.hint


def test_a_tar_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(bytes(10240))
    assert "is not an image cache" in refusal(path).message


@pytest.mark.parametrize("size", [0, 511, (8 << 30) - 1, 8 << 30, 1 << 41])
def test_what_is_around_a_layer_has_its_size_whatever_the_digest(size: int) -> None:
    """From 8 GiB on the header of the layer has a pax record."""
    layer = Descriptor(OCI_LAYER, Digest("9f" * 32), size)
    image = cache_image([Platform("linux", "arm64")], layer, diff_id=layer.digest)
    archive = plan_archive(image, layer, Content(size))
    expected = expected_archive([Platform("linux", "arm64")], Content(size))
    start = expected.files[0].offset
    assert (archive.files[0].offset, archive.content.size) == (start, expected.content.size)
    head = content_bytes(archive.content.slice(0, start))
    with tarfile.open(fileobj=io.BytesIO(head)) as tar:
        found = [info for info in (tar.next(), tar.next(), tar.next()) if info]
    assert [info.name for info in found[:2]] == ["blobs", "blobs/sha256"]
    assert (found[2].size, found[2].offset_data) == (size, len(head))
