"""Folders and archives of caches, judged by tar, skopeo, umoci, xorriso, debugfs and mtools."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lib.caches.caches import (
    CacheFixture,
    drop_tag,
    layout_blobs,
    make_flat,
    make_old_layout,
    tree_files,
    unpack_as_talos,
)
from tests.lib.caches.tars import make_archive
from tests.lib.registries.pushed_images import create, layer_tree, push_image, umoci_unpacks
from tests.lib.registries.registry import running_registry
from tests.lib.tools import cli
from tests.lib.tools.cli import build, cut, fingerprint, partitions, tool

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module", name="images")
def pushed_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Return an image by tag, and one by its digest alone."""
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        push_image(registry.host, "team/tagged", "amd64", tag="v1")
        entry = push_image(registry.host, "team/pinned", "amd64", tag="v1")
        yield [f"{registry.host}/team/tagged:v1", f"{registry.host}/team/pinned@{entry['digest']}"]


def empty_folder(images: list[str]) -> str:
    host = images[0].partition("/")[0]
    return f"manifests/{host.replace(':', '_')}_/team/pinned/reference"


def test_a_layer_as_talos_and_gnu_tar_unpack_it(images: list[str], tmp_path: Path) -> None:
    layout = create(tmp_path / "cache", images)
    layer = layout_blobs(layout)["layer"]
    lines = [line.split() for line in tool("tar", "--numeric-owner", "-tvf", layer).splitlines()]
    folders = [line[-1] for line in lines if line[0].startswith("d")]
    assert f"{empty_folder(images)}/" in folders
    assert all(name.endswith("/") for name in folders)
    assert {tuple(line[:2]) for line in lines} == {("drwxr-xr-x", "0/0"), ("-rw-r--r--", "0/0")}
    for unpacked in (
        unpack_as_talos(layer, tmp_path / "talos"),
        by_gnu_tar(layer, tmp_path / "gnu"),
    ):
        assert (unpacked / empty_folder(images)).is_dir()
        assert tree_files(unpacked) == layer_tree(layout)
    assert umoci_unpacks(layout, tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs" / empty_folder(images)).is_dir()


def by_gnu_tar(tar: Path, folder: Path) -> Path:
    folder.mkdir()
    tool("tar", "-xf", tar, "-C", folder)
    return folder


@pytest.mark.parametrize("name", ["cache.tar", "cache.tar.gz", "cache.tar.zst"])
def test_an_archive_is_what_skopeo_and_tar_take(
    images: list[str], tmp_path: Path, name: str
) -> None:
    archive = create(tmp_path / name, images)
    layout = create(tmp_path / "layout", images)
    unpacked = by_gnu_tar(archive, tmp_path / "unpacked")
    assert tree_files(unpacked) == tree_files(layout)
    if name != "cache.tar.zst":  # skopeo does not decompress that
        copied = tmp_path / "copied"
        tool(
            *("skopeo", "--insecure-policy", "copy"),
            *(f"oci-archive:{archive}:latest", f"oci:{copied}:latest"),
        )
        assert layer_tree(copied) == layer_tree(layout)
    for command in ("cache-verify", "cache-info"):
        done = cli.run("images", command, archive)
        assert (done.returncode, done.stderr) == (0, "")
    assert cli.run("images", "cache-diff", archive, layout).returncode == 0


def test_an_archive_of_skopeo_is_a_cache(images: list[str], tmp_path: Path) -> None:
    layout = create(tmp_path / "layout", images, "--layer-compression", "gzip")
    archive = tmp_path / "by skopeo.tar"
    tool(
        *("skopeo", "--insecure-policy", "copy"),
        *(f"oci:{layout}:latest", f"oci-archive:{archive}:latest"),
    )
    done = cli.run("images", "cache-verify", archive)
    assert (done.returncode, done.stderr) == (0, "")
    assert cli.run("images", "cache-diff", archive, layout).returncode == 0


def test_an_archive_is_the_same_whatever_is_around(images: list[str], tmp_path: Path) -> None:
    first = create(tmp_path / "a.tar", images)
    second = create(
        tmp_path / "b.tar",
        images[::-1],
        *("--jobs", "1"),
        umask=0o077,
        env={"TZ": "Asia/Kathmandu", "SOURCE_DATE_EPOCH": "1700000000"},
        prefix=("faketime", "2031-02-03 04:05:06"),
    )
    assert first.read_bytes() == second.read_bytes()
    third = create(tmp_path / "c.tar", images, "--layer-cache", str(tmp_path / "layers"))
    assert first.read_bytes() == third.read_bytes()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".tar", ".tar", ".tar"]


def test_the_size_of_an_archive_is_told_before(images: list[str], tmp_path: Path) -> None:
    options = ("images", "cache-create", "--images", "-", "--image-cache-path")
    path = tmp_path / "cache.tar"
    text = "\n".join(images)
    told = json.loads(cli.run(*options, path, "--dry-run", "--json", stdin=text).stdout)
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    made = json.loads(cli.run(*options, path, "--json", stdin=text).stdout)
    assert told["spaceNeeded"] == told["writtenSize"] == path.stat().st_size
    assert told["archive"] == made["archive"] == ".tar"
    with tarfile.open(path) as tar:
        (layer,) = [each for each in tar if each.name.endswith(made["layer"]["digest"][7:])]
    assert layer.size == made["layer"]["size"]


def in_an_iso(iso: Path, folder: Path) -> Path:
    tool("xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/imagecache", folder)
    return folder


def in_an_iso_by_joliet(iso: Path, folder: Path) -> Path:
    folder.mkdir()
    tool("bsdtar", "--options", "iso9660:!rockridge", "-xf", iso, "-C", folder)
    return folder / "imagecache"


def on_a_disk(image: Path, folder: Path) -> Path:
    (part,) = [each for each in partitions(image)[1] if each.label == "IMAGECACHE"]
    volume = cut(image, part.start, part.size, folder.with_name("volume"))
    tool("e2fsck", "-fn", volume)
    folder.mkdir()
    tool("debugfs", "-R", f"rdump / {folder}", volume)
    return folder


def on_a_stick(image: Path, folder: Path) -> Path:
    (part,) = partitions(image)[1]
    volume = cut(image, part.start, part.size, folder.with_name("volume"))
    tool("fsck.fat", "-n", volume)
    folder.mkdir()
    tool("mcopy", "-s", "-i", volume, "::/imagecache", folder)
    return folder / "imagecache"


@pytest.mark.parametrize(
    ("args", "opened"),
    [
        (("iso",), in_an_iso),
        (("iso",), in_an_iso_by_joliet),
        (("metal", "--out-format", "raw"), on_a_disk),
        (("iso", "--output-kind", "usb"), on_a_stick),
    ],
)
def test_images_have_the_empty_folder(
    assets: Path,
    tmp_path: Path,
    args: tuple[str, ...],
    opened: Callable[[Path, Path], Path],
) -> None:
    """Made of an old cache, whose layer has no folders at all."""
    flat: CacheFixture = make_flat(tmp_path / "flat", images=2, blob_size=20_000)
    reference = drop_tag(flat)
    layout = make_old_layout(flat, tmp_path / "old")
    options = ("--assets", assets, "--image-cache", layout, "--output", tmp_path)
    image = Path(build(*args, *options)["output"])
    found = opened(image, tmp_path / "opened")
    assert tree_files(found) == flat.files
    assert (found / reference).is_dir()
    assert list((found / reference).iterdir()) == []


def test_a_cache_has_one_size(images: list[str], assets: Path, tmp_path: Path) -> None:
    """Whatever tells it, and however the cache is packed: the sum of its files."""
    sizes = set()
    options = ("images", "cache-create", "--images", "-", "--image-cache-path")
    packings = {"oci": (), "flat": ("--layout", "flat"), "a.tar": (), "a.tar.zst": ()}
    for name, more in packings.items():
        path = tmp_path / name
        for last in ("--dry-run", "--quiet"):
            done = cli.run(*options, path, *more, "--json", last, stdin="\n".join(images))
            sizes.add(json.loads(done.stdout)["size"])
        for command in ("cache-info", "cache-verify"):
            sizes.add(json.loads(cli.run("images", command, path, "--json").stdout)["size"])
    planned = build("iso", "--assets", assets, "--image-cache", tmp_path / "a.tar", "--dry-run")
    sizes.add(planned["imageCache"]["size"])
    assert sizes == {sum(map(len, tree_files(tmp_path / "flat").values()))}
    (size,) = sizes
    words = f"{size} bytes ({size / cli.MIB:.1f} MiB)"
    assert words in cli.run("images", "cache-info", tmp_path / "oci").stdout
    assert words in cli.run("images", "cache-verify", tmp_path / "flat").stdout


def test_the_largest_images_are_listed_first(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", images=3, blob_size=2_000_000)
    lines = cli.run("images", "cache-info", flat.folder).stdout.splitlines()[:4]
    assert [line.split() for line in lines] == [
        ["SIZE", "IMAGE", "PLATFORMS"],
        *(["3.8", "MiB", f"{reference}", "linux/amd64"] for reference in flat.references[::-1]),
    ]


def test_every_packing_makes_the_same_iso(assets: Path, tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", images=2, blob_size=100_000)
    prints = set()
    for codec, layer in ((None, None), ("gzip", None), ("zstd", None), (None, "gzip")):
        path = make_archive(
            flat,
            tmp_path / f"{codec}-{layer}",
            layout=True,
            prefix="./x/",
            codec=codec,
            layer=layer,
        )
        options = ("--assets", assets, "--output", tmp_path, "--image-cache")
        prints.add(fingerprint(Path(build("iso", *options, path)["output"])))
    prints.add(fingerprint(Path(build("iso", *options, flat.folder)["output"])))
    assert len(prints) == 1
