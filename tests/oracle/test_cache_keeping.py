"""The commands on caches with a real registry: judged by cache-create, skopeo, umoci, mkfs.ext4."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lib.caches.caches import (
    INDEX_TYPE,
    flip,
    layout_blobs,
    make_flat,
    make_layout,
    tree_files,
)
from tests.lib.registries.pushed_images import (
    create,
    layer_tree,
    push_image,
    push_index,
    skopeo_copies,
    umoci_unpacks,
)
from tests.lib.registries.registry import RunningRegistry, copy_image, running_registry
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle

MIB = 1 << 20
PACKINGS = (
    (),
    ("--layer-compression", "gzip"),
    ("--layer-compression", "zstd"),
    ("--layout", "flat"),
)
EVERY_PACKING = pytest.mark.parametrize("packing", PACKINGS, ids=lambda each: each[-1:] or "plain")
BOTH = ("--platform", "linux/amd64,linux/arm64")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        for name in ("multi", "other"):
            entries = [push_image(running.host, f"team/{name}", a) for a in ("amd64", "arm64")]
            push_index(running.host, f"team/{name}", entries, INDEX_TYPE)
        for name in ("one", "two"):
            push_image(running.host, f"team/{name}", "amd64", tag="v1")
        yield running


def references(registry: RunningRegistry, *names: str) -> list[str]:
    return [f"{registry.host}/team/{name}:v1" for name in names]


def images(command: str, *args: str | Path, lines: Sequence[str] = (), status: int = 0) -> str:
    done = cli.run("images", command, *args, stdin="\n".join(lines))
    assert done.returncode == status, done.stderr
    return done.stdout if status in (0, 1) else done.stderr


@EVERY_PACKING
@pytest.mark.parametrize("platform", [(), BOTH], ids=["amd64", "both"])
def test_add_and_prune_give_the_bytes_of_create(
    registry: RunningRegistry, tmp_path: Path, packing: tuple[str, ...], platform: tuple[str, ...]
) -> None:
    first = references(registry, "multi", "two")
    whole = references(registry, "multi", "two", "other", "one")
    path = create(tmp_path / "cache", first, *packing, *platform)
    before = tree_files(path)
    expected = tree_files(create(tmp_path / "expected", whole, *packing, *platform))

    said = images("cache-add", path, "--images", "-", lines=whole[2:])
    assert tree_files(path) == expected
    # Each manifest of the two images has a configuration and a layer of its own; one is shared.
    assert f"{6 if platform else 4} blobs, " in said

    images("cache-prune", path, "--remove", "-", lines=whole[2:])
    assert tree_files(path) == before


def test_blobs_that_are_there_are_not_fetched(registry: RunningRegistry, tmp_path: Path) -> None:
    path = create(tmp_path / "cache", references(registry, "one"))
    moved = registry.storage.with_name("gone")
    shared = list(registry.storage.rglob("data"))
    held = {each[-64:] for each in layer_tree(path) if each.startswith("blob/")}
    hidden = [each for each in shared if each.parent.name in held]
    assert len(hidden) == 3
    moved.mkdir()
    # The configuration is asked for to tell the platform; the layers must not be.
    config = min(hidden, key=lambda each: each.stat().st_size)
    for each in hidden:
        if each != config:
            each.rename(moved / each.parent.name)
    try:
        images("cache-add", path, "--images", "-", lines=references(registry, "one", "multi"))
    finally:
        for each in hidden:
            if each != config:
                (moved / each.parent.name).rename(each)
    expected = create(tmp_path / "expected", references(registry, "one", "multi"))
    assert tree_files(path) == tree_files(expected)


def test_a_tag_that_moved(registry: RunningRegistry, tmp_path: Path) -> None:
    push_image(registry.host, "team/moving", "amd64", tag="v1")
    path = create(tmp_path / "cache", references(registry, "moving", "one"))
    copy_image(
        f"docker://{registry.host}/team/two:v1",
        f"docker://{registry.host}/team/moving:v1",
        *("--src-tls-verify=false", "--dest-tls-verify=false"),
    )
    moving = references(registry, "moving")
    done = cli.run("images", "cache-add", path, "--images", "-", stdin=moving[0])
    assert f"warning: {moving[0]} now refers to another image" in done.stderr
    expected = create(tmp_path / "expected", references(registry, "moving", "one"))
    assert tree_files(path) == tree_files(expected)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_skopeo_and_umoci_take_what_was_changed(
    registry: RunningRegistry, tmp_path: Path, compression: str
) -> None:
    path = create(
        tmp_path / "cache", references(registry, "one"), "--layer-compression", compression
    )
    images("cache-add", path, "--images", "-", lines=references(registry, "multi", "two"))
    images("cache-prune", path, "--remove", "-", lines=references(registry, "two"))
    assert skopeo_copies(path, tmp_path / "copy") == 0
    assert umoci_unpacks(path, tmp_path / "bundle")
    expected = create(tmp_path / "expected", references(registry, "one", "multi"))
    assert tree_files(tmp_path / "bundle/rootfs") == layer_tree(expected)
    assert images("cache-verify", path).startswith("verified 2 images, ")
    flip(layout_blobs(path)["layer"], offset=100)
    assert skopeo_copies(path, tmp_path / "second") != 0
    images("cache-verify", path, status=2)


def test_what_skopeo_copied_is_the_same(registry: RunningRegistry, tmp_path: Path) -> None:
    path = create(tmp_path / "cache", references(registry, "one", "multi"))
    layout = tmp_path / "copy"
    copy_image(f"oci:{path}:latest", f"oci:{layout}:v1")
    remote = f"{registry.host}/caches/cache:v1"
    copy_image(f"oci:{path}:latest", f"docker://{remote}", "--dest-tls-verify=false")

    # skopeo writes no platforms into a layout's index, and a registry needs none.
    note = "note: the index has no entry for linux/amd64: such machines find no cache in it\n"
    for other, notes in ((layout, note), (remote, "")):
        assert images("cache-diff", path, other) == ""
        assert images("cache-verify", other).startswith(f"{notes}verified 2 images, ")
        one, two = (json.loads(images("cache-info", each, "--json")) for each in (path, other))
        # On the way, skopeo packs the layer.
        packed = {"source": "", "layer": None, "layerCompression": "gzip"}
        assert two["layerCompression"] == "gzip"
        assert one | packed == two | packed
    assert json.loads(images("cache-info", remote, "--json"))["layout"] == "oci"
    packed_path = create(
        tmp_path / "packed", references(registry, "one", "multi"), "--layer-compression", "gzip"
    )
    before = tree_files(packed_path)
    images("cache-add", layout, "--images", "-", lines=references(registry, "two"))
    images("cache-prune", layout, "--remove", "-", lines=references(registry, "two"))
    assert tree_files(layout) == before


def test_differences_are_an_exit_code(registry: RunningRegistry, tmp_path: Path) -> None:
    one = create(tmp_path / "one", references(registry, "one", "multi"))
    two = create(tmp_path / "two", references(registry, "two", "multi"), *BOTH)
    said = images("cache-diff", one, two, status=1)
    names = [line.split()[1] for line in said.splitlines()[:3]]
    assert [line[0] for line in said.splitlines()[:3]] == ["-", "+", "~"]
    assert names == references(registry, "one", "two", "multi")
    assert "    linux/arm64: none -> sha256:" in said
    found: dict[str, Any] = json.loads(images("cache-diff", one, two, "--json", status=1))
    assert found["same"] is False
    assert found["bytesAdded"] == sum(blob["size"] for blob in found["blobsAdded"])
    assert images("cache-diff", one, two, "-q", status=1) == ""
    assert "does not exist" in images("cache-diff", one, tmp_path / "three", status=2)


def test_a_dry_run_writes_nothing(registry: RunningRegistry, tmp_path: Path) -> None:
    path = create(tmp_path / "cache", references(registry, "one", "two"), "--layout", "flat")
    before = {each: each.stat().st_ino for each in path.rglob("*")}
    size = sum(map(len, tree_files(path).values()))
    one = references(registry, "one")
    said = images("cache-prune", path, "--keep", "-", "--dry-run", lines=one)
    assert said.splitlines()[0] == f"- {references(registry, 'two')[0]}"
    assert {each: each.stat().st_ino for each in path.rglob("*")} == before
    images("cache-prune", path, "--keep", "-", lines=one)
    freed = size - sum(map(len, tree_files(path).values()))
    assert f"would free {freed} bytes" in said


def test_json_tells_the_problems(registry: RunningRegistry, tmp_path: Path) -> None:
    path = create(tmp_path / "cache", references(registry, "one"), "--layout", "flat")
    good = json.loads(images("cache-verify", path, "--json"))
    assert (good["ok"], good["images"], good["blobs"], good["problems"]) == (True, 1, 3, [])
    blobs = sorted((path / "blob").iterdir())
    flip(blobs[0], 3)
    blobs[1].unlink()
    done = cli.run("images", "cache-verify", path, "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert len(found["problems"]) == 2
    for blob in blobs[:2]:
        assert blob.name[7:] in " ".join(found["problems"])
        assert blob.name[7:] in done.stderr


@pytest.mark.parametrize(("count", "size"), [(3, 900_000), (27, 20_000_001)])
def test_a_volume_of_min_size_holds_the_cache(tmp_path: Path, count: int, size: int) -> None:
    """What the machine's own mkfs.ext4 formats, with its own defaults, has room for the files."""
    flat = make_flat(tmp_path / "flat", images=2, blob_size=1000)
    # What is in the blobs does not matter, for nobody hashes them, but mke2fs leaves zeros out.
    for number in range(count):
        (flat.folder / "blob" / f"sha256-{number:064x}").write_bytes(b"x" * size)
    info = json.loads(images("cache-info", flat.folder, "--json"))
    mebibytes = int(info["minSize"].removesuffix("MiB"))
    assert fits(flat.folder, tmp_path / "volume", mebibytes)
    assert fits(flat.folder, tmp_path / "volume", mebibytes + mebibytes // 10)
    assert not fits(flat.folder, tmp_path / "volume", info["size"] // MIB)
    # Small volumes have many inodes: 256 bytes for every 4 KiB.
    assert mebibytes * MIB < info["size"] * 1.08 + 32 * MIB


def fits(tree: Path, volume: Path, mebibytes: int) -> bool:
    volume.unlink(missing_ok=True)
    argv = ("mkfs.ext4", "-q", "-F", "-d", tree, volume, f"{mebibytes}M")
    done = subprocess.run(argv, capture_output=True, env=cli.environment(), check=False)
    return done.returncode == 0


def test_info_for_a_person(registry: RunningRegistry, tmp_path: Path) -> None:
    path = create(tmp_path / "cache", references(registry, "one", "multi"), *BOTH)
    said = images("cache-info", path)
    for reference in references(registry, "one", "multi"):
        assert reference in said
    info = json.loads(images("cache-info", path, "--json"))
    assert f"minSize          {info['minSize']}" in said
    layer = layout_blobs(path)["layer"]
    assert info["layer"] == {"digest": f"sha256:{layer.name}", "size": layer.stat().st_size}
    assert info["platforms"] == ["linux/amd64", "linux/arm64"]
    # One layer of 70001 bytes is in all three manifests; within an image it counts once.
    assert info["sharedSize"] == 70_001


def test_a_layout_of_others(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", blob_size=2000)
    layout = make_layout(flat, tmp_path / "layout", codec="gzip")
    assert images("cache-diff", flat.folder, layout) == ""
    images("cache-prune", layout, "--remove", "-", lines=flat.references[:1])
    assert skopeo_copies(layout, tmp_path / "copy") == 0
    assert len(layer_tree(layout)) == len(flat.files) * 2 // 3
