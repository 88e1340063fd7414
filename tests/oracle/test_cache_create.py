"""`imager images cache-create` from a real registry, judged by tar, skopeo and umoci."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.lib.caches.caches import (
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    flip,
    layout_blobs,
    sha256,
    tree_files,
)
from tests.lib.registries.pushed_images import (
    DOCKER_TYPES,
    SHARED,
    ask,
    create,
    digest_of,
    layer_tree,
    platforms_of,
    push_attestation,
    push_image,
    push_index,
    skopeo_copies,
    umoci_unpacks,
)
from tests.lib.registries.registry import RunningRegistry
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle

ACCEPTED = ", ".join((INDEX_TYPE, MANIFEST_TYPE, *DOCKER_TYPES))
COMPRESSIONS = ("none", "gzip", "zstd")


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A registry, and the digests (hexadecimal) of what was pushed to it, by name."""

    host: str
    digests: dict[str, str]

    def reference(self, name: str, form: str) -> str:
        tag, digest = ":v1", f"@sha256:{self.digests[name]}"
        suffix = {"tag": tag, "digest": digest, "both": tag + digest}[form]
        return f"{self.host}/team/{name}{suffix}"


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
        # All that the index names: also the attestation, which is for no platform.
        ("all", ["amd64", "arm64", "unknown"]),
    ],
)
def test_platforms(
    pushed: Pushed, tmp_path: Path, name: str, platform: str, arches: list[str]
) -> None:
    reference = pushed.reference(name, "tag")
    layout = create(tmp_path / "cache", [reference], "--platform", platform)

    assert layer_tree(layout) == expected_tree(pushed, name, "tag", arches)
    assert platforms_of(layout) == [f"linux/{arch}" for arch in arches if arch != "unknown"]


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
