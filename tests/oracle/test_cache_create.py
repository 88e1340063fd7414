"""`imager images cache-create` from a real registry, judged by tar, skopeo and umoci."""

from __future__ import annotations

import dataclasses
import gzip
import http.client
import itertools
import json
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests import cli
from tests.caches import (
    CONFIG_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    flip,
    layout_blobs,
    sha256,
    tree_files,
)
from tests.registry import RunningRegistry, running_registry

pytestmark = pytest.mark.oracle

DOCKER = "application/vnd.docker.distribution.manifest"
DOCKER_TYPES = (f"{DOCKER}.list.v2+json", f"{DOCKER}.v2+json")
REF_NAME = "org.opencontainers.image.ref.name"
ACCEPTED = ", ".join((INDEX_TYPE, MANIFEST_TYPE, *DOCKER_TYPES))
COMPRESSIONS = ("none", "gzip", "zstd")
SHARED = random.Random("shared").randbytes(70_001)


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A registry, and the digests (hexadecimal) of what was pushed to it, by name."""

    host: str
    digests: dict[str, str]

    def reference(self, name: str, form: str) -> str:
        tag, digest = ":v1", f"@sha256:{self.digests[name]}"
        suffix = {"tag": tag, "digest": digest, "both": tag + digest}[form]
        return f"{self.host}/team/{name}{suffix}"


def ask(
    host: str, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[bytes, Mapping[str, str]]:
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status in (200, 201, 202), (method, path, answer.status, data)
        return data, dict(answer.headers)
    finally:
        connection.close()


def push_blob(host: str, repository: str, data: bytes) -> None:
    _, headers = ask(host, "POST", f"/v2/{repository}/blobs/uploads/")
    target = headers["Location"].partition(host)[2]
    kind = {"Content-Type": "application/octet-stream"}
    ask(host, "PUT", f"{target}&digest=sha256:{sha256(data)}", data, **kind)


def push_manifest(host: str, repository: str, data: bytes, kind: str, tag: str = "") -> str:
    target = tag or f"sha256:{sha256(data)}"
    ask(host, "PUT", f"/v2/{repository}/manifests/{target}", data, **{"Content-Type": kind})
    return sha256(data)


def push_image(
    host: str, repository: str, arch: str, *, kind: str = MANIFEST_TYPE, tag: str = ""
) -> dict[str, object]:
    """Push an image of two layers, one of them in every image; return its index entry."""
    config = dump({"architecture": arch, "os": "linux", "of": repository})
    layers = [SHARED, random.Random(f"{repository} {arch}").randbytes(50_003)]
    for blob in (config, *layers):
        push_blob(host, repository, blob)
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [descriptor(LAYER_TYPE, layer) for layer in layers],
        }
    )
    push_manifest(host, repository, manifest, kind, tag)
    return descriptor(kind, manifest, platform={"architecture": arch, "os": "linux"})


def push_attestation(host: str, repository: str) -> dict[str, object]:
    """Push what BuildKit puts beside an image; return its index entry."""
    config, layer = dump({"architecture": "unknown", "os": "unknown"}), b'{"predicate": 1}'
    for blob in (config, layer):
        push_blob(host, repository, blob)
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [descriptor("application/vnd.in-toto+json", layer)],
        }
    )
    push_manifest(host, repository, manifest, MANIFEST_TYPE)
    return descriptor(
        MANIFEST_TYPE,
        manifest,
        platform={"architecture": "unknown", "os": "unknown"},
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )


def push_index(host: str, repository: str, entries: Sequence[object], kind: str) -> str:
    # Odd spacing: these bytes, not what they say, must reach the cache.
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}, indent=3)
    return push_manifest(host, repository, index.encode(), kind, "v1")


def digest_of(entry: Mapping[str, Any]) -> str:
    return str(entry["digest"]).removeprefix("sha256:")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def pushed(registry: RunningRegistry) -> Pushed:
    host = registry.host
    multi = [push_image(host, "team/multi", arch) for arch in ("amd64", "arm64")]
    multi.insert(1, push_attestation(host, "team/multi"))
    listed = [
        push_image(host, "team/list", arch, kind=DOCKER_TYPES[1]) for arch in ("arm64", "amd64")
    ]
    digests = {
        "single": digest_of(push_image(host, "team/single", "amd64", tag="v1")),
        "arm": digest_of(push_image(host, "team/arm", "arm64", tag="v1")),
        "multi": push_index(host, "team/multi", multi, INDEX_TYPE),
        "list": push_index(host, "team/list", listed, DOCKER_TYPES[0]),
    }
    return Pushed(host, digests)


def served_manifest(host: str, name: str, target: str) -> bytes:
    return ask(host, "GET", f"/v2/team/{name}/manifests/{target}", Accept=ACCEPTED)[0]


def expected_tree(pushed: Pushed, name: str, form: str, arches: Sequence[str]) -> dict[str, bytes]:
    """Compute the tree of an image by FORMATS.md from what the registry serves."""
    host = pushed.host
    folder = f"manifests/{host.replace(':', '_')}_/team/{name}"
    root = served_manifest(host, name, f"sha256:{pushed.digests[name]}")
    tree = {f"{folder}/digest/sha256-{sha256(root)}": root}
    if form != "digest":
        tree[f"{folder}/reference/v1"] = root
    document = json.loads(root)
    entries = document.get("manifests", [])
    wanted = [entry for entry in entries if entry["platform"]["architecture"] in arches]
    parts = [served_manifest(host, name, entry["digest"]) for entry in wanted]
    tree |= {f"{folder}/digest/sha256-{sha256(part)}": part for part in parts}
    for manifest in map(json.loads, parts or [root]):
        for blob in (manifest["config"], *manifest["layers"]):
            data = ask(host, "GET", f"/v2/team/{name}/blobs/{blob['digest']}")[0]
            tree[f"blob/{blob['digest'].replace(':', '-')}"] = data
    return tree


def create(path: Path, images: Sequence[str], *options: str, **run: Any) -> Path:
    argv = ["images", "cache-create", "--images", "-", "--image-cache-path", str(path), *options]
    done = cli.run(*argv, stdin="\n".join(images), **run)
    assert done.returncode == 0, done.stderr
    return path


def layer_tree(layout: Path) -> dict[str, bytes]:
    """Return the files of the layer, read by Python's tarfile; each must be there once."""
    files: dict[str, bytes] = {}
    with tarfile.open(layout_blobs(layout)["layer"]) as tar:
        for member in tar:
            if member.isdir():
                continue
            assert member.isreg()
            assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
            file = tar.extractfile(member)
            assert file is not None
            assert member.name not in files
            files[member.name] = file.read()
    return files


def platforms_of(layout: Path) -> list[str]:
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert len({entry["digest"] for entry in entries}) == 1
    # One name alone: umoci takes a second one for an ambiguous tag.
    names = [entry.get("annotations", {}).get(REF_NAME) for entry in entries]
    assert names == ["latest", *[None] * (len(entries) - 1)]
    return [f"{entry['platform']['os']}/{entry['platform']['architecture']}" for entry in entries]


@pytest.mark.parametrize("form", ["tag", "digest", "both"])
@pytest.mark.parametrize("name", ["single", "multi", "list"])
def test_the_tree_is_what_the_registry_serves(
    pushed: Pushed, tmp_path: Path, name: str, form: str
) -> None:
    layout = create(tmp_path / "cache", [pushed.reference(name, form)])

    assert layer_tree(layout) == expected_tree(pushed, name, form, ["amd64"])
    assert platforms_of(layout) == ["linux/amd64"]


@pytest.mark.parametrize("name", ["multi", "list"])
@pytest.mark.parametrize(
    ("platform", "arches"),
    [
        ("linux/arm64", ["arm64"]),
        ("linux/arm64/v8", ["arm64"]),
        ("linux/amd64,linux/arm64", ["amd64", "arm64"]),
        ("all", ["amd64", "arm64"]),
    ],
)
def test_platforms(
    pushed: Pushed, tmp_path: Path, name: str, platform: str, arches: list[str]
) -> None:
    reference = pushed.reference(name, "tag")
    layout = create(tmp_path / "cache", [reference], "--platform", platform)

    assert layer_tree(layout) == expected_tree(pushed, name, "tag", arches)
    assert platforms_of(layout) == [f"linux/{arch}" for arch in arches]


def test_images_share_blobs(pushed: Pushed, tmp_path: Path) -> None:
    names = ["single", "multi", "list", "arm"]
    references = [pushed.reference(name, "tag") for name in names]
    layout = create(
        tmp_path / "cache", references, "--platform", "linux/amd64", "--platform", "linux/arm64"
    )
    trees = [expected_tree(pushed, name, "tag", ["amd64", "arm64"]) for name in names]

    files = layer_tree(layout)
    assert files == {path: data for tree in trees for path, data in tree.items()}
    assert list(files.values()).count(SHARED) == 1
    assert platforms_of(layout) == ["linux/amd64", "linux/arm64"]


def test_a_flat_cache_is_the_tree(pushed: Pushed, tmp_path: Path) -> None:
    names = ["single", "multi", "list"]
    references = [pushed.reference(name, "tag") for name in names]
    flat = create(tmp_path / "flat", references, "--layout", "flat")
    trees = [expected_tree(pushed, name, "tag", ["amd64"]) for name in names]

    assert tree_files(flat) == {path: data for tree in trees for path, data in tree.items()}
    assert tree_files(flat) == layer_tree(create(tmp_path / "layout", references))


def test_gnu_tar_agrees(pushed: Pushed, tmp_path: Path) -> None:
    layout = create(tmp_path / "cache", [pushed.reference("multi", "both")])
    target = tmp_path / "unpacked"
    target.mkdir()

    cli.tool("tar", "-xf", layout_blobs(layout)["layer"], "-C", target)

    assert tree_files(target) == expected_tree(pushed, "multi", "both", ["amd64"])


@pytest.mark.parametrize("platform", ["linux/amd64", "all"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_skopeo_and_umoci_take_the_layout(
    pushed: Pushed, tmp_path: Path, compression: str, platform: str
) -> None:
    layout = create(
        tmp_path / "cache",
        [pushed.reference("multi", "tag"), pushed.reference("single", "tag")],
        *("--layer-compression", compression, "--platform", platform),
    )
    inspected = json.loads(cli.tool("skopeo", "inspect", f"oci:{layout}:latest"))
    assert inspected["Layers"] == [f"sha256:{layout_blobs(layout)['layer'].name}"]
    assert (inspected["Os"], inspected["Architecture"]) == ("linux", "amd64")

    assert skopeo_copies(layout, tmp_path / "copy") == 0
    if compression != "zstd":  # Debian's umoci is older than zstd layers
        cli.tool("umoci", "stat", "--image", f"{layout}:latest")
        assert umoci_unpacks(layout, tmp_path / "bundle")
        assert tree_files(tmp_path / "bundle/rootfs") == layer_tree(layout)


def skopeo_copies(layout: Path, target: Path) -> int:
    argv = ("skopeo", "--insecure-policy", "copy", f"oci:{layout}:latest", f"dir:{target}")
    return subprocess.run(argv, capture_output=True, check=False).returncode


def umoci_unpacks(layout: Path, target: Path) -> bool:
    argv = ("umoci", "unpack", "--rootless", "--image", f"{layout}:latest", target)
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("blob", ["layer", "config"])
def test_skopeo_and_umoci_refuse_a_damaged_copy(pushed: Pushed, tmp_path: Path, blob: str) -> None:
    layout = create(tmp_path / "cache", [pushed.reference("single", "tag")])
    assert skopeo_copies(layout, tmp_path / "good") == 0

    flip(layout_blobs(layout)[blob], offset=100)

    assert skopeo_copies(layout, tmp_path / "copy") != 0
    assert not umoci_unpacks(layout, tmp_path / "bundle")


def test_the_configuration_names_the_uncompressed_layer(pushed: Pushed, tmp_path: Path) -> None:
    reference = pushed.reference("single", "tag")
    types, tars = {}, []
    for compression in COMPRESSIONS:
        layout = create(tmp_path / compression, [reference], "--layer-compression", compression)
        blobs = layout_blobs(layout)
        manifest = json.loads(blobs["manifest"].read_bytes())
        layer = blobs["layer"].read_bytes()
        types[compression] = manifest["layers"][0]["mediaType"]
        assert manifest["layers"][0]["size"] == len(layer)
        tars.append(unpacked(layer, compression))
        config = json.loads(blobs["config"].read_bytes())
        assert config["rootfs"]["diff_ids"] == [f"sha256:{sha256(tars[-1])}"]
        assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
        everything = {path.name for path in (layout / "blobs/sha256").iterdir()}
        assert everything == {path.name for path in blobs.values()}

    assert types == {
        "none": LAYER_TYPE,
        "gzip": f"{LAYER_TYPE}+gzip",
        "zstd": f"{LAYER_TYPE}+zstd",
    }
    assert tars[0] == tars[1] == tars[2]


def unpacked(layer: bytes, compression: str) -> bytes:
    match compression:
        case "gzip":
            return gzip.decompress(layer)
        case "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(layer)
        case _:
            return layer


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_same_images_give_the_same_bytes(
    pushed: Pushed, tmp_path: Path, compression: str
) -> None:
    references = [pushed.reference(name, "tag") for name in ("single", "multi", "list")]
    scratch = tmp_path / "elsewhere"
    scratch.mkdir()
    options = ("--layer-compression", compression, "--platform")
    surroundings: list[tuple[list[str], str, dict[str, Any]]] = [
        (references, "linux/amd64,linux/arm64", {}),
        (references[::-1], "linux/arm64,linux/amd64", {"umask": 0o077}),
        (references, "linux/amd64,linux/arm64", {"jobs": "1"}),
        (references, "linux/amd64,linux/arm64", {"jobs": "16"}),
        (
            [*references, references[0]],
            "linux/amd64,linux/arm64",
            {
                "env": {"TZ": "Asia/Kathmandu", "TMPDIR": str(scratch), "LC_ALL": "C"},
                "prefix": ("faketime", "2031-02-03 04:05:06"),
            },
        ),
        (
            references,
            "linux/amd64,linux/arm64",
            {"env": {"SOURCE_DATE_EPOCH": "1700000000"}, "cwd": scratch},
        ),
    ]
    made = [
        tree_files(
            create(
                tmp_path / f"cache{number}",
                images,
                *options,
                platform,
                *("--jobs", str(run.pop("jobs", "4"))),
                **run,
            )
        )
        for number, (images, platform, run) in enumerate(surroundings)
    ]

    for first, second in itertools.pairwise(made):
        assert first == second


def test_force_replaces_a_cache_and_leaves_nothing_beside_it(
    pushed: Pushed, tmp_path: Path
) -> None:
    path = create(tmp_path / "cache", [pushed.reference("single", "tag")])
    create(path, [pushed.reference("multi", "tag")], "--force")

    assert layer_tree(path) == expected_tree(pushed, "multi", "tag", ["amd64"])
    assert os.listdir(tmp_path) == ["cache"]  # noqa: PTH208
