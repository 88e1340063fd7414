"""Images as registries really have them: cached, served, and copied on by skopeo and crane."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lib.caches.caches import (
    MANIFEST_TYPE,
    descriptor,
    dump,
    image_index,
    image_manifest,
    sha256,
)
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.pushed_images import create, layer_tree, platforms_of
from tests.lib.registries.registry import RunningRegistry, running_registry
from tests.lib.registries.serving import Server, serving
from tests.lib.servers.messages import Answer
from tests.lib.tools import cli
from tests.lib.tools.crane import crane, crane_program

pytestmark = pytest.mark.oracle

EMPTY = "application/vnd.oci.empty.v1+json"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
AMD64 = {"os": "linux", "architecture": "amd64"}
WINDOWS = {"os": "windows", "architecture": "amd64"}
UNKNOWN = {"os": "unknown", "architecture": "unknown"}


class Repository:
    """A repository of the registry, filled as a client would see it."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.store, self.name = registry.repository(name), name

    def blob(self, data: bytes) -> bytes:
        self.store.add_blob(data)
        return data

    def manifest(self, data: bytes, *, tag: str = "") -> bytes:
        self.store.add_manifest(data, json.loads(data)["mediaType"], tag=tag)
        return data

    def image(self, config: dict[str, Any], *, tag: str = "", **more: Any) -> bytes:
        raw = self.blob(dump(config | {"of": self.name}))
        layer = self.blob(self.name.encode() * 999)
        return self.manifest(image_manifest(raw, [layer], **more), tag=tag)

    def artifact(self, kind: str, data: bytes, *, tag: str = "", **more: Any) -> bytes:
        empty = self.blob(b"{}")
        config = {"config": descriptor(EMPTY, empty), "artifactType": kind}
        made = image_manifest(empty, [self.blob(data)], layer_type=kind, **config, **more)
        return self.manifest(made, tag=tag)

    def index(self, *entries: dict[str, object]) -> bytes:
        return self.manifest(image_index(entries), tag="v1")


def entry(manifest: bytes, platform: dict[str, str] | None = None, **more: object) -> Any:
    return descriptor(
        MANIFEST_TYPE, manifest, **({"platform": platform} if platform else {}), **more
    )


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with running_programmable() as server:
        noplat = Repository(server, "noplat")
        noplat.index(entry(noplat.image(AMD64)))
        unknown = Repository(server, "unknown")
        other = descriptor("application/vnd.example.x+json", b"{}", platform=AMD64)
        unknown.index(other, entry(unknown.image(AMD64), AMD64))
        windows = Repository(server, "windows")
        foreign = descriptor(FOREIGN, b"not here", urls=["http://127.0.0.1:1/base"])
        base = windows.image(WINDOWS, layers=[foreign])
        windows.index(entry(windows.image(AMD64), AMD64), entry(base, WINDOWS))
        elsewhere = Repository(server, "elsewhere")
        server.always("/base", Answer(200, b"a base layer"))
        urls = [f"{server.url}/base"]
        foreign = descriptor(FOREIGN, b"a base layer", urls=urls)
        elsewhere.image(AMD64, layers=[foreign], tag="v1")
        Repository(server, "artifact").artifact("application/vnd.example.model", b"model", tag="v1")
        Repository(server, "noconfig").image({}, tag="v1")
        attested = Repository(server, "attested")
        image = attested.image(AMD64)
        marks = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": f"sha256:{sha256(image)}",
        }
        provenance = attested.artifact("application/vnd.in-toto+json", b'{"predicate": 1}')
        attested.index(entry(image, AMD64), entry(provenance, UNKNOWN, annotations=marks))
        signed = Repository(server, "signed")
        image = signed.image(AMD64, tag="v1")
        signed.artifact(BUNDLE, b"a bundle", subject=descriptor(MANIFEST_TYPE, image))
        yield server


# What is there in whole, to be copied on.
WHOLE = ("noplat", "elsewhere", "artifact", "noconfig", "attested", "signed")
NAMES = (*WHOLE, "unknown", "windows")


def references(registry: Registry) -> list[str]:
    return [f"{registry.host}/{name}:v1" for name in NAMES]


@pytest.fixture(scope="module")
def cache(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of all images."""
    folder = tmp_path_factory.mktemp("all") / "cache"
    return create(folder, references(registry), "--platform", "all")


@pytest.fixture(scope="module")
def served(cache: Path) -> Iterator[Server]:
    with serving(cache) as running:
        yield running


def digests_in(folder: Path) -> set[str]:
    """The digests of all files that skopeo has put into a folder."""
    return {sha256(path.read_bytes()) for path in folder.iterdir() if path.name != "version"}


def test_the_cache_is_sound(cache: Path) -> None:
    assert platforms_of(cache) == ["linux/amd64", "windows/amd64"]
    verified = cli.run("images", "cache-verify", cache, "--json")
    assert verified.returncode == 0, verified.stderr
    found = json.loads(verified.stdout)
    assert (found["ok"], found["images"], found["signatures"]) == (True, len(NAMES), 1)
    assert found["notes"] == []
    tree = layer_tree(cache)
    there = {path.rpartition("sha256-")[2] for path in tree}
    assert sha256(b"not here") not in there
    assert sha256(b"a base layer") in there


@pytest.mark.parametrize("name", WHOLE)
def test_skopeo_copies_everything_on(
    registry: Registry, served: Server, tmp_path: Path, name: str
) -> None:
    def copied(host: str) -> set[str]:
        folder = tmp_path / host.rpartition(":")[2]
        source = f"docker://{host}/{name}:v1"
        cli.tool(
            *("skopeo", "--insecure-policy", "copy", "--all", "--quiet", "--preserve-digests"),
            *("--src-tls-verify=false", source, f"dir:{folder}"),
        )
        return digests_in(folder)

    assert copied(served.address) == copied(registry.host)


@pytest.mark.parametrize("name", NAMES)
def test_crane_reads_what_the_registry_has(registry: Registry, served: Server, name: str) -> None:
    there = crane("manifest", "--insecure", f"{registry.host}/{name}:v1")
    assert crane("manifest", "--insecure", f"{served.address}/{name}:v1") == there


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """A registry without images."""
    with running_registry(tmp_path_factory.mktemp("other")) as running:
        yield running


@pytest.mark.parametrize("name", WHOLE)
def test_crane_copies_everything_on(
    registry: Registry, served: Server, other: RunningRegistry, name: str
) -> None:
    crane("copy", "--insecure", f"{served.address}/{name}:v1", f"{other.host}/{name}:v1")
    assert crane("digest", "--insecure", f"{other.host}/{name}:v1") == crane(
        "digest", "--insecure", f"{registry.host}/{name}:v1"
    )


def test_clients_find_listed_signatures_by_tag(cache: Path, served: Server) -> None:
    """Talos's registry has no list of referrers: the tag has what it would have."""
    digest = crane("digest", "--insecure", f"{served.address}/signed:v1").strip()
    tag = digest.replace(":", "-")
    index = json.loads(crane("manifest", "--insecure", f"{served.address}/signed:{tag}"))
    (bundle,) = index["manifests"]
    assert bundle["artifactType"] == BUNDLE
    answer = json.loads(served.ask(f"/v2/signed/referrers/{digest}").data)
    assert [each["digest"] for each in answer["manifests"]] == [bundle["digest"]]
    name = f"{served.address}/signed@{bundle['digest']}"
    layer = json.loads(crane("manifest", "--insecure", name))["layers"][0]["digest"]
    argv = (crane_program(), "blob", "--insecure", f"{served.address}/signed@{layer}")
    done = subprocess.run(argv, capture_output=True, check=True)
    assert done.stdout == b"a bundle"


def test_the_cache_for_one_platform(registry: Registry, tmp_path: Path) -> None:
    images = references(registry)
    cache = create(tmp_path / "cache", images)
    assert platforms_of(cache) == ["linux/amd64"]
    assert cli.run("images", "cache-verify", cache, "--platform", "linux/amd64").returncode == 0
    assets = cli.synthetic_assets(tmp_path / "assets")
    options = ("--assets", assets, "--image-cache", cache)
    built = cli.build("iso", "--dry-run", *options)
    assert built["imageCache"]["images"] == sorted(images)
    kept = cli.run("images", "cache-prune", cache, "--platform", "linux/amd64", "--dry-run")
    assert "nothing to remove" in kept.stdout


def test_an_artifact_alone_is_for_the_platform_that_was_asked_for(
    registry: Registry, tmp_path: Path
) -> None:
    reference = f"{registry.host}/artifact:v1"
    cache = create(tmp_path / "cache", [reference], "--platform", "linux/arm64")
    assert platforms_of(cache) == ["linux/arm64"]


def test_pushed_and_pulled_again(cache: Path, other: RunningRegistry) -> None:
    pushed = cli.run("images", "cache-push", cache, f"{other.host}/cache:v1", "--quiet")
    assert pushed.returncode == 0, pushed.stderr
    found = cli.run("images", "cache-verify", pushed.stdout.strip())
    assert found.returncode == 0, found.stderr
    diff = cli.run("images", "cache-diff", cache, pushed.stdout.strip())
    assert diff.returncode == 0, diff.stdout


def test_added_and_taken_out(cache: Path, registry: Registry, tmp_path: Path) -> None:
    first, *others = references(registry)
    one = create(tmp_path / "one", [first], "--platform", "all")
    before = layer_tree(one)
    listed = "\n".join(others)
    added = cli.run("images", "cache-add", one, "--images", "-", "--platform", "all", stdin=listed)
    assert added.returncode == 0, added.stderr
    assert layer_tree(one) == layer_tree(cache)
    pruned = cli.run("images", "cache-prune", one, "--remove", "-", stdin=listed)
    assert pruned.returncode == 0, pruned.stderr
    assert layer_tree(one) == before
