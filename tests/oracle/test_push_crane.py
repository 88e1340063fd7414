"""`imager images cache-push` and crane, each held against what the other pushes and pulls."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from imager.cache.cache import ImageCache
from imager.cache.pull import Puller
from imager.oci.reference import Reference
from imager.oci.settings import RegistrySettings
from imager.support.arch import find_arch
from imager.support.reporter import NullReporter
from tests.lib.caches.caches import flip, layout_blobs, make_flat, make_tar, sha256, tree_files
from tests.lib.caches.caches import make_layout as make_cache_layout
from tests.lib.registries.registry import RunningRegistry, copy_image, make_layout
from tests.lib.tools import cli
from tests.lib.tools.crane import crane
from tests.lib.tools.support import content_bytes

pytestmark = pytest.mark.oracle

IMAGES = ("registry.local/team/one:v1", "registry.local/team/two:v1")
NO_TLS = "--src-tls-verify=false"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A list of two images in OCI layouts, made by umoci."""
    folder = tmp_path_factory.mktemp("images")
    layouts = [make_layout(folder / name, text=name * 20_000) for name in ("one", "two")]
    return "".join(f"{name}=oci:{at}:v1\n" for name, at in zip(IMAGES, layouts, strict=True))


def create(path: Path, images: str, *options: str) -> Path:
    argv = ["images", "cache-create", "--images", "-", "--image-cache-path", str(path), *options]
    done = cli.run(*argv, stdin=images)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, images: str) -> Path:
    return create(tmp_path_factory.mktemp("cache") / "image-cache.oci", images)


def push(path: Path, reference: str, *options: str) -> str:
    """Push, and return the digest that is printed."""
    done = cli.run("images", "cache-push", path, reference, "--quiet", *options)
    assert (done.returncode, done.stderr) == (0, "")
    name, _, digest = done.stdout.strip().partition("@")
    assert name == reference
    return digest


def pulled(reference: str, folder: Path) -> ImageCache:
    """Return the cache as a build reads it."""
    puller = Puller(RegistrySettings(), folder, NullReporter(io.StringIO()))
    return puller.pull(Reference.parse_strict(reference), arch=find_arch("amd64")).cache


def files(cache: ImageCache) -> dict[str, bytes]:
    return {file.path: content_bytes(file.content) for file in cache.files}


def index(layout: Path) -> Any:
    return json.loads((layout / "index.json").read_bytes())


def test_crane_pushes_the_folder_to_the_digest_that_we_give(
    registry: RunningRegistry, cache: Path, tmp_path: Path
) -> None:
    ours, theirs = f"{registry.host}/team/ours:v1", f"{registry.host}/team/theirs:v1"
    said = crane("push", cache, theirs)
    digest = push(cache, ours)
    assert digest == index(cache)["manifests"][0]["digest"]
    assert said.splitlines()[-1] == f"{theirs.removesuffix(':v1')}@{digest}"
    assert crane("digest", ours).strip() == crane("digest", theirs).strip() == digest
    one, two = pulled(ours, tmp_path / "one"), pulled(theirs, tmp_path / "two")
    assert files(one) == files(two)
    assert sorted(map(str, one.images)) == sorted(IMAGES)


def test_an_index_of_several_platforms(registry: RunningRegistry, tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", arches=("amd64", "arm64"), blob_size=5000)
    layout = make_cache_layout(flat, tmp_path / "multi", platforms=("amd64", "arm64"))
    host = registry.host
    ours, theirs = f"{host}/multi/ours:v1", f"{host}/multi/theirs:v1"
    digest = push(layout, ours)
    assert digest == f"sha256:{sha256((layout / 'index.json').read_bytes())}"
    assert crane("push", "--index", layout, theirs).strip().endswith(digest)
    assert crane("manifest", ours).encode() == (layout / "index.json").read_bytes()
    for arch in ("amd64", "arm64"):
        config = crane("config", "--platform", f"linux/{arch}", ours)
        assert json.loads(config)["os"] == "linux"
    assert files(pulled(ours, tmp_path / "one")) == files(pulled(theirs, tmp_path / "two"))


def test_a_flat_tree_and_a_tar_are_pushed_as_the_layout_is(
    registry: RunningRegistry, cache: Path, images: str, tmp_path: Path
) -> None:
    flat = create(tmp_path / "flat", images, "--layout", "flat")
    packed = tmp_path / "cache.tar"
    cli.tool("tar", "-C", flat, "-cf", packed, "blob", "manifests")
    digest = push(cache, f"{registry.host}/packed/layout:v1")
    assert push(flat, f"{registry.host}/packed/flat:v1", "--chunk-size", "4096") == digest
    assert push(packed, f"{registry.host}/packed/tar:v1") == digest
    assert files(pulled(f"{registry.host}/packed/flat:v1", tmp_path / "p")) == tree_files(flat)


def test_a_compressed_tar_is_pushed_like_a_plain_one(
    registry: RunningRegistry, tmp_path: Path
) -> None:
    flat = make_flat(tmp_path / "flat")
    names = []
    for codec in (None, "gzip"):
        packed = make_tar(flat, tmp_path / f"cache-{codec}.tar", codec=codec)
        names.append(f"{registry.host}/packed/{codec}:v1".lower())
        done = cli.run("images", "cache-push", packed, names[-1])
        assert done.returncode == 0, done.stderr
    plain, unpacked = (crane("digest", name) for name in names)
    assert plain == unpacked


@pytest.mark.parametrize("damaged", ["blob", "layer"])
def test_a_damaged_cache_gets_no_tag(
    registry: RunningRegistry, cache: Path, images: str, tmp_path: Path, damaged: str
) -> None:
    if damaged == "blob":
        path = create(tmp_path / "copy", images, "--layout", "flat")
        flip(max((path / "blob").iterdir(), key=lambda file: file.stat().st_size))
    else:
        path = create(tmp_path / "copy", images)
        layer = layout_blobs(path)["layer"]
        # Inside of a blob, which is a gzip file: headers are read before anything is sent.
        flip(layer, layer.read_bytes().index(b"\x1f\x8b\x08") + 20)
    name = f"{registry.host}/damaged/{damaged}"
    done = cli.run("images", "cache-push", path, f"{name}:v1")
    assert done.returncode == 2
    assert "does not match its digest" in done.stderr
    assert (
        "v1"
        not in cli.tool(
            "skopeo", "list-tags", "--tls-verify=false", f"docker://{name}", status=None
        ).partition("Tags")[2]
    )


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_skopeo_crane_and_umoci_read_what_we_pushed(
    registry: RunningRegistry, images: str, tmp_path: Path, compression: str
) -> None:
    cache = create(tmp_path / "cache", images, "--layer-compression", compression)
    name = f"{registry.host}/read/{compression}:v1"
    digest = push(cache, name)
    said = cli.tool("skopeo", "inspect", "--tls-verify=false", f"docker://{name}")
    assert json.loads(said)["Digest"] == digest
    layer = layout_blobs(cache)["layer"]
    assert json.loads(said)["Layers"] == [f"sha256:{layer.name}"]

    copied = tmp_path / "copied"
    copy_image(f"docker://{name}", f"oci:{copied}:v1", NO_TLS, "--preserve-digests")
    assert tree_files(copied / "blobs") == tree_files(cache / "blobs")
    if compression != "zstd":  # which Debian's umoci does not read
        bundle = tmp_path / "bundle"
        cli.tool("umoci", "unpack", "--rootless", "--image", f"{copied}:v1", bundle)
        assert len(list((bundle / "rootfs/blob").iterdir())) == 4

    saved = tmp_path / "saved"
    crane("pull", "--format=oci", name, saved)
    assert tree_files(saved / "blobs") == tree_files(cache / "blobs")


@pytest.mark.parametrize("puller", ["skopeo", "crane"])
def test_every_blob_is_what_others_pull(
    registry: RunningRegistry, tmp_path: Path, puller: str
) -> None:
    """The cache's blobs and manifests are those that a foreign tool gets from the registry."""
    images = []
    for number in range(2):
        source = make_layout(tmp_path / f"image{number}", text=f"{puller} {number}" * 9999)
        images.append(f"{registry.host}/{puller}/app{number}:v1")
        copy_image(f"oci:{source}:v1", f"docker://{images[-1]}", "--dest-tls-verify=false")
    flat = create(tmp_path / "flat", "\n".join(images), "--layout", "flat")
    expected: dict[str, bytes] = {}
    manifests: set[bytes] = set()
    for number, image in enumerate(images):
        layout = tmp_path / f"pulled{number}"
        if puller == "skopeo":
            copy_image(f"docker://{image}", f"oci:{layout}:v1", NO_TLS)
        else:
            crane("pull", "--format=oci", image, layout)
        manifest = index(layout)["manifests"][0]["digest"].removeprefix("sha256:")
        blobs = tree_files(layout / "blobs/sha256")
        manifests.add(blobs.pop(manifest))
        expected |= {f"sha256-{name}": data for name, data in blobs.items()}
    assert tree_files(flat / "blob") == expected
    assert set(tree_files(flat / "manifests").values()) == manifests
