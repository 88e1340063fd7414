"""Sources of a cache: layouts and archives by foreign tools; and a cache as a source of outputs."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.lib.caches.caches import flip, layout_blobs, sha256, tree_files
from tests.lib.registries.registry import RunningRegistry, copy_image, make_layout
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle

NAME = "registry.local:5000/team/app:v1"
FOLDER = "manifests/registry.local_5000_/team/app"


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a layout by umoci with two tags, v1 and v2."""
    folder = make_layout(tmp_path_factory.mktemp("layout") / "image", tag="v1")
    more = folder.with_name("more")
    more.mkdir()
    (more / "other").write_text("of v2\n")
    cli.tool("umoci", "tag", "--image", f"{folder}:v1", "v2")
    cli.tool("umoci", "insert", "--rootless", "--image", f"{folder}:v2", more, "/more")
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Path:
    path = tmp_path_factory.mktemp("archive") / "image.tar"
    copy_image(f"oci:{layout}:v2", f"docker-archive:{path}:{NAME}")
    return path


def attempt(path: Path, images: str, *options: str) -> cli.Completed:
    command = ("images", "cache-create", "--images", "-", "--image-cache-path", path)
    return cli.run(*command, *options, stdin=images)


def create(path: Path, images: str, *options: str) -> Path:
    done = attempt(path, images, *options)
    assert done.returncode == 0, done.stderr
    return path


def refuse(path: Path, images: str, *options: str) -> str:
    done = attempt(path, images, *options)
    assert done.returncode == 2, done.stderr
    assert not path.exists()
    assert "Traceback" not in done.stderr
    return done.stderr


def layer_tree(layout: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with tarfile.open(layout_blobs(layout)["layer"]) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                files[member.name] = file.read()
    return files


def layout_tree(layout: Path, tag: str) -> dict[str, bytes]:
    """Compute the tree of one tag of a layout, under NAME."""
    blobs = layout / "blobs/sha256"
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    (digest,) = (
        entry["digest"].removeprefix("sha256:")
        for entry in entries
        if entry["annotations"]["org.opencontainers.image.ref.name"] == tag
    )
    manifest = (blobs / digest).read_bytes()
    document = json.loads(manifest)
    tree = {f"{FOLDER}/reference/v1": manifest, f"{FOLDER}/digest/sha256-{digest}": manifest}
    for blob in (document["config"], *document["layers"]):
        name = blob["digest"].removeprefix("sha256:")
        tree[f"blob/sha256-{name}"] = (blobs / name).read_bytes()
    return tree


@pytest.mark.parametrize("tag", ["v1", "v2"])
def test_a_tag_of_a_layout(layout: Path, tmp_path: Path, tag: str) -> None:
    made = create(tmp_path / "cache", f"{NAME}=oci:{layout}:{tag}")

    assert layer_tree(made) == layout_tree(layout, tag)


@pytest.mark.parametrize("form", ["oci-archive", "oci-archive.gz", "dir", "docker"])
def test_what_skopeo_writes(
    layout: Path, registry: RunningRegistry, tmp_path: Path, form: str
) -> None:
    if form == "docker":
        target = f"docker://{registry.host}/team/app:v9"
        copy_image(f"oci:{layout}:v2", target, "--dest-tls-verify=false")
        source = target
    elif form == "dir":
        source = f"dir:{tmp_path / 'folder'}"
        copy_image(f"oci:{layout}:v2", source)
    else:
        path = tmp_path / "image.tar"
        copy_image(f"oci:{layout}:v2", f"oci-archive:{path}:v2")
        if form.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        source = f"oci-archive:{path}"
    made = create(tmp_path / "cache", f"{NAME}={source}")
    assert layer_tree(made) == layout_tree(layout, "v2")


def test_a_layout_of_one_image_needs_no_tag(tmp_path: Path) -> None:
    source = make_layout(tmp_path / "image", tag="only")
    made = create(tmp_path / "cache", f"{NAME}=oci:{source}")

    assert layer_tree(made) == layout_tree(source, "only")


def test_a_layout_that_skopeo_made(registry: RunningRegistry, layout: Path, tmp_path: Path) -> None:
    copy_image(f"oci:{layout}:v1", f"oci:{tmp_path / 'copy'}:{NAME}")
    # The layout's own name is a full one, so none need be written.
    made = create(tmp_path / "cache", f"oci:{tmp_path / 'copy'}")

    assert layer_tree(made) == layout_tree(tmp_path / "copy", NAME)


@pytest.mark.parametrize(
    "entry", ["{NAME}=docker-archive:{archive}", "docker-archive:{archive}:{NAME}"]
)
def test_an_archive_that_skopeo_made(archive: Path, tmp_path: Path, entry: str) -> None:
    made = create(tmp_path / "cache", entry.format(NAME=NAME, archive=archive))

    files = layer_tree(made)
    manifest = files[f"{FOLDER}/reference/v1"]
    document = json.loads(manifest)
    assert files[f"{FOLDER}/digest/sha256-{sha256(manifest)}"] == manifest
    with tarfile.open(archive) as tar:
        listed = json.loads(member(tar, "manifest.json"))[0]
        config = member(tar, listed["Config"])
        layers = [member(tar, name) for name in listed["Layers"]]
    assert [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])] == [
        f"sha256:{sha256(data)}" for data in (config, *layers)
    ]
    for data in (config, *layers):
        assert files[f"blob/sha256-{sha256(data)}"] == data
    assert len(files) == 3 + len(layers)


def member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_all_kinds_of_source_together(
    registry: RunningRegistry, layout: Path, archive: Path, tmp_path: Path
) -> None:
    copy_image(
        f"oci:{layout}:v1", f"docker://{registry.host}/team/app:v1", "--dest-tls-verify=false"
    )
    images = (
        "# what the site needs\r\n\r\n"
        f"{registry.host}/team/app:v1   # pulled\r\n"
        f"registry.local/one:v1=oci:{layout}:v1\r\n"
        f"registry.local/two:v1=docker-archive:{archive}\r\n"
    )
    files = layer_tree(create(tmp_path / "cache", images))

    tags = {path.rpartition("/reference/")[0] for path in files if "/reference/" in path}
    port = registry.host.replace(":", "_")
    assert tags == {
        f"manifests/{name}"
        for name in (f"{port}_/team/app", "registry.local/one", "registry.local/two")
    }
    for path, data in files.items():
        if path.startswith("blob/"):
            assert path == f"blob/sha256-{sha256(data)}"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("oci:{layout}:v1", "no full name"),
        ("{NAME}=oci:{layout}", "2 images"),
        ("{NAME}=oci:{layout}:v3", "v3"),
        ("{NAME}=oci:{layout}/missing:v1", "missing does not exist"),
        ("{NAME}=oci:", "image source"),
        ("{NAME}=containers-storage:x", "image source"),
        ("dir:{layout}", "does not name its image"),
        ("{NAME}=dir:{layout}/gone", "gone does not exist"),
        ("{NAME}=dir:{layout}", "not a skopeo directory"),
        ("oci-archive:{archive}", "not an OCI archive"),
        ("registry.local/Team/app=oci:{layout}:v1", "lower case"),
        ("{NAME}=docker-archive:{archive}:other:v1", "other:v1"),
        ("{NAME}=docker-archive:{archive}.gone", "gone"),
        ("{NAME}=oci:{layout}:v1\n{NAME}=oci:{layout}:v2", "two different images have the name"),
        ("registry.local/app@sha256:" + "0" * 64 + "=oci:{layout}:v1", "its digest is"),
    ],
)
def test_sources_that_are_refused(
    layout: Path, archive: Path, tmp_path: Path, entry: str, said: str
) -> None:
    text = entry.format(NAME=NAME, layout=layout, archive=archive)

    assert said in refuse(tmp_path / "cache", text)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("index", [0, 1])
def test_a_damaged_local_blob_is_refused(layout: Path, tmp_path: Path, index: int) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(layout, copy)
    digest = layout_manifest(copy)["layers"][index]["digest"].removeprefix("sha256:")
    flip(copy / "blobs/sha256" / digest)

    assert digest in refuse(tmp_path / "cache", f"{NAME}=oci:{copy}:v2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def layout_manifest(layout: Path) -> dict[str, Any]:
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    digest = entries[-1]["digest"].removeprefix("sha256:")
    document: dict[str, Any] = json.loads((layout / "blobs/sha256" / digest).read_bytes())
    return document


def test_a_damaged_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.tar"
    shutil.copy(archive, copy)
    with tarfile.open(archive) as tar:
        layer = tar.getmember(json.loads(member(tar, "manifest.json"))[0]["Layers"][0])
    flip(copy, offset=layer.offset_data + 10)

    assert "expected sha256:" in refuse(tmp_path / "cache", f"{NAME}=docker-archive:{copy}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Path:
    images = f"{NAME}=oci:{layout}:v1\nregistry.local/two:v1=oci:{layout}:v2"
    return create(tmp_path_factory.mktemp("made") / "image-cache.oci", images)


@pytest.fixture(scope="module")
def reference_iso(tmp_path_factory: pytest.TempPathFactory, cache: Path, assets: Path) -> str:
    return iso(cache, assets, tmp_path_factory.mktemp("iso"))


def iso(cache: Path | str, assets: Path, folder: Path) -> str:
    """Build the ISO of `cache` and return its SHA-256."""
    command = ("iso", "--assets", assets, "--output", folder, "--image-cache", cache)
    done = cli.run(*command)
    assert done.returncode == 0, done.stderr
    (image,) = folder.glob("*.iso")
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pushed(registry: RunningRegistry, layout: Path, tag: str, *options: str) -> str:
    reference = f"{registry.host}/site/cache:{tag}"
    target = f"docker://{reference}"
    copy_image(f"oci:{layout}:latest", target, "--dest-tls-verify=false", *options)
    return reference


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_cache_in_a_registry_gives_the_same_iso(
    *,
    registry: RunningRegistry,
    layout: Path,
    assets: Path,
    reference_iso: str,
    tmp_path: Path,
    compression: str,
) -> None:
    images = f"{NAME}=oci:{layout}:v1\nregistry.local/two:v1=oci:{layout}:v2"
    made = create(tmp_path / "cache", images, "--layer-compression", compression)
    assert iso(made, assets, new(tmp_path / "folder")) == reference_iso

    reference = pushed(registry, made, compression)
    assert iso(reference, assets, new(tmp_path / "tag")) == reference_iso
    _, _, tag = reference.rpartition(":")
    digest = registry_digest(registry, "site/cache", tag)
    by_digest = f"{registry.host}/site/cache@{digest}"
    assert iso(by_digest, assets, new(tmp_path / "digest")) == reference_iso


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def registry_digest(registry: RunningRegistry, repository: str, tag: str) -> str:
    inspected = cli.tool(
        *("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}"),
        f"docker://{registry.host}/{repository}:{tag}",
    )
    return inspected.strip()


def test_a_tree_and_a_tar_of_it_give_the_same_iso(
    cache: Path, assets: Path, reference_iso: str, tmp_path: Path
) -> None:
    tree = new(tmp_path / "tree")
    layer = layout_blobs(cache)["layer"]
    cli.tool("tar", "-xf", layer, "-C", tree)
    assert iso(tree, assets, new(tmp_path / "from-tree")) == reference_iso

    tar = tmp_path / "tree.tar"
    cli.tool("tar", "-C", tree, "--sort=name", "-cf", tar, "blob", "manifests")
    assert iso(tar, assets, new(tmp_path / "from-tar")) == reference_iso
    # GNU tar writes ./ before every name when it is given the folder itself.
    cli.tool("tar", "-C", tree, "--sort=name", "-czf", tar, ".")
    assert iso(tar, assets, new(tmp_path / "from-gzip")) == reference_iso


def test_a_cache_of_several_platforms_pushed_as_an_index(
    registry: RunningRegistry, layout: Path, assets: Path, tmp_path: Path
) -> None:
    """The layout's index.json is put into the registry as the index of the tag."""
    arm = make_layout(tmp_path / "image", tag="v1", text="arm\n")
    cli.tool("umoci", "config", "--image", f"{arm}:v1", "--architecture", "arm64")
    images = f"{NAME}=oci:{layout}:v1\nregistry.local/arm:v1=oci:{arm}:v1"
    made = create(tmp_path / "cache", images, "--platform", "linux/amd64,linux/arm64")
    entries = json.loads((made / "index.json").read_bytes())["manifests"]
    assert [entry["platform"]["architecture"] for entry in entries] == ["amd64", "arm64"]
    expected = iso(made, assets, new(tmp_path / "folder"))
    pushed(registry, made, "part", "--preserve-digests")
    put_manifest(registry, "site/cache", "index", (made / "index.json").read_bytes())

    reference = f"{registry.host}/site/cache:index"
    assert iso(reference, assets, new(tmp_path / "pulled")) == expected


def put_manifest(registry: RunningRegistry, repository: str, tag: str, data: bytes) -> None:
    connection = http.client.HTTPConnection(registry.host, timeout=60)
    kind = {"Content-Type": json.loads(data)["mediaType"]}
    connection.request("PUT", f"/v2/{repository}/manifests/{tag}", data, kind)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()


@pytest.mark.parametrize("name", ["site/none:v1", "team/app:v1"])
def test_what_is_no_cache_in_a_registry(
    registry: RunningRegistry, layout: Path, assets: Path, tmp_path: Path, name: str
) -> None:
    copy_image(
        f"oci:{layout}:v2", f"docker://{registry.host}/team/app:v1", "--dest-tls-verify=false"
    )
    done = cli.run(
        *("iso", "--assets", assets, "--output", tmp_path),
        *("--image-cache", f"{registry.host}/{name}"),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not tree_files(tmp_path)
