"""Signatures beside images in a real registry: cached as they are, judged by skopeo."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lib.caches.caches import (
    CONFIG_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    layout_blobs,
    sha256,
    tree_files,
)
from tests.lib.proxies.programmable import Proxy, running_proxy
from tests.lib.registries.pushed_images import (
    digest_of,
    layer_tree,
    platforms_of,
    push_blob,
    push_image,
    push_index,
    push_manifest,
)
from tests.lib.registries.registry import RunningRegistry, copy_image, running_registry
from tests.lib.servers.messages import Answer
from tests.lib.servers.rules import Where
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle

EMPTY = "application/vnd.oci.empty.v1+json"
SBOM = "application/spdx+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_KEY = "dev.cosignproject.cosign/signature"
WITHOUT = "--no-cosign-signatures"
MULTI = "team/multi"


def push_cosign(host: str, repository: str, signed: str) -> None:
    """Push what `cosign sign` does of an image with the digest `signed` (hexadecimal)."""
    identity = {"docker-reference": f"{host}/{repository}"}
    critical = {"identity": identity, "image": {"docker-manifest-digest": f"sha256:{signed}"}}
    payload = dump({"critical": {**critical, "type": "cosign container image signature"}})
    layer = descriptor(SIMPLE_SIGNING, payload, annotations={SIGNATURE_KEY: "MEUCIQ=="})
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    config = dump({"architecture": "", "os": "", "config": {}, "rootfs": rootfs})
    for blob in (payload, config):
        push_blob(host, repository, blob)
    fields = {"config": descriptor(CONFIG_TYPE, config), "layers": [layer]}
    manifest = dump({"schemaVersion": 2, "mediaType": MANIFEST_TYPE, **fields})
    push_manifest(host, repository, manifest, MANIFEST_TYPE, f"sha256-{signed}.sig")


def push_referrers(host: str, repository: str, signed: str) -> None:
    """Push the index of two artifacts that refer to an image, one for a platform of its own."""
    entries = []
    for number, more in enumerate(({}, {"platform": {"os": "linux", "architecture": "s390x"}})):
        layer = random.Random(f"{signed} {number}").randbytes(3001)
        for blob in (b"{}", layer):
            push_blob(host, repository, blob)
        fields = {"config": descriptor(EMPTY, b"{}"), "layers": [descriptor(SBOM, layer)]}
        subject = {"mediaType": INDEX_TYPE, "digest": f"sha256:{signed}", "size": 7}
        value = {"schemaVersion": 2, "artifactType": SBOM, **fields, "subject": subject}
        manifest = dump({"mediaType": MANIFEST_TYPE, **value})
        push_manifest(host, repository, manifest, MANIFEST_TYPE)
        entries.append(descriptor(MANIFEST_TYPE, manifest, artifactType=SBOM, **more))
    index = dump({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})
    push_manifest(host, repository, index, INDEX_TYPE, f"sha256-{signed}")


@dataclasses.dataclass(frozen=True)
class Site:
    """A registry, and the digests (hexadecimal) of the images `team/<name>:v1` in it."""

    registry: RunningRegistry
    digests: dict[str, str]

    @property
    def references(self) -> list[str]:
        return [f"{self.registry.host}/team/{name}:v1" for name in self.digests]

    def tags(self, name: str) -> set[str]:
        return {f"sha256-{self.digests[name]}.sig", f"sha256-{self.digests[name]}"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        host = running.host
        entries = [push_image(host, MULTI, arch) for arch in ("amd64", "arm64")]
        multi = push_index(host, MULTI, entries, INDEX_TYPE)
        single = digest_of(push_image(host, "team/single", "amd64", tag="v1"))
        unsigned = digest_of(push_image(host, "team/unsigned", "amd64", tag="v1"))
        for name, digest in ((MULTI, multi), ("team/single", single)):
            push_cosign(host, name, digest)
        push_referrers(host, MULTI, multi)
        yield Site(running, {"multi": multi, "single": single, "unsigned": unsigned})


def create(path: Path, images: list[str], *options: str) -> str:
    """Make a cache; return what is said on standard error."""
    argv = ("images", "cache-create", "--images", "-", "--image-cache-path", path, "--quiet")
    done = cli.run(*argv, "--retries", "0", *options, stdin="\n".join(images))
    assert done.returncode == 0, done.stderr
    return done.stderr


def read_json(*args: str | Path) -> dict[str, Any]:
    done = cli.run("images", *args, "--json")
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def copied_by_skopeo(host: str, repository: str, tag: str, folder: Path) -> dict[str, bytes]:
    """Copy what is under a tag as it is; return where FORMATS has its files in the cache."""
    source = f"docker://{host}/{repository}:{tag}"
    copy_image(source, f"dir:{folder}", "--src-tls-verify=false", "--all")
    place = f"manifests/{host.replace(':', '_')}_/{repository}"
    # Debian's skopeo writes an index anew when it copies one.
    root = cli.tool("skopeo", "inspect", "--raw", "--tls-verify=false", source).encode()
    tree = {f"{place}/reference/{tag}": root, f"{place}/digest/sha256-{sha256(root)}": root}
    for path in folder.iterdir():
        data = path.read_bytes()
        if path.name == "manifest.json":
            continue
        if path.name.endswith(".manifest.json"):
            tree[f"{place}/digest/sha256-{sha256(data)}"] = data
        elif path.name != "version":
            tree[f"blob/sha256-{path.name}"] = data
    return tree


@pytest.mark.parametrize("layout", ["oci", "flat"])
def test_signatures_are_cached_as_skopeo_copies_them(
    site: Site, tmp_path: Path, layout: str
) -> None:
    read = {"oci": layer_tree, "flat": tree_files}[layout]
    assert create(tmp_path / "with", site.references, "--layout", layout) == ""
    create(tmp_path / "without", site.references, "--layout", layout, WITHOUT)
    plain, signed = read(tmp_path / "without"), read(tmp_path / "with")
    assert not any("sha256-" in Path(each).name and "/reference/" in each for each in plain)

    expected = dict(plain)
    wanted = [("multi", tag) for tag in site.tags("multi")]
    for name, tag in [*wanted, ("single", f"sha256-{site.digests['single']}.sig")]:
        copied = copied_by_skopeo(site.registry.host, f"team/{name}", tag, tmp_path / f"dir{tag}")
        # A manifest and its tag, two blobs each; of the index, two manifests more, `{}` once.
        assert len(copied) == (4 if tag.endswith(".sig") else 7)
        expected |= copied
    assert signed == expected


@pytest.mark.parametrize("form", ["digest", "both"])
def test_an_image_by_digest_has_its_signatures(site: Site, tmp_path: Path, form: str) -> None:
    digest = f"@sha256:{site.digests['multi']}"
    reference = f"{site.registry.host}/{MULTI}{':v1' if form == 'both' else ''}{digest}"
    create(tmp_path / "cache", [reference], "--layout", "flat")
    tags = {each.name for each in (tmp_path / "cache").rglob("reference/*")}
    assert tags == site.tags("multi") | ({"v1"} if form == "both" else set())


def test_the_same_bytes_whatever_the_jobs(site: Site, tmp_path: Path) -> None:
    for jobs in ("1", "2", "16"):
        create(tmp_path / jobs, site.references, "--jobs", jobs)
    assert tree_files(tmp_path / "1") == tree_files(tmp_path / "2") == tree_files(tmp_path / "16")


def test_the_cache_is_for_the_platforms_of_its_images(site: Site, tmp_path: Path) -> None:
    create(tmp_path / "cache", site.references, "--platform", "all")
    assert platforms_of(tmp_path / "cache") == ["linux/amd64", "linux/arm64"]
    info = read_json("cache-info", tmp_path / "cache")
    assert info["platforms"] == ["linux/amd64", "linux/arm64"]
    assert [each["name"] for each in info["images"]] == sorted(site.references)
    assert (info["signatures"], info["unreferencedBlobs"]) == (3, [])
    assert "\nsignatures       3\n" in cli.run("images", "cache-info", tmp_path / "cache").stdout
    found = cli.run("images", "cache-verify", tmp_path / "cache", "--platform", "linux/amd64")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("verified 3 images, 3 signatures, ")


def test_a_build_takes_a_cache_with_signatures(site: Site, tmp_path: Path) -> None:
    create(tmp_path / "cache", site.references)
    assets = cli.synthetic_assets(tmp_path / "assets")
    options = ("--assets", assets, "--image-cache", tmp_path / "cache")
    required = tmp_path / "required"
    required.write_text("\n".join(site.references))
    built = cli.build("iso", "--dry-run", *options, "--require-images", required)
    assert built["imageCache"]["images"] == sorted(site.references)
    create(tmp_path / "arm", site.references[:1], "--platform", "linux/arm64")
    done = cli.run("iso", "--dry-run", "--assets", assets, "--image-cache", tmp_path / "arm")
    assert done.returncode == 2
    assert "sha256-" not in done.stderr


def test_adding_and_pruning(site: Site, tmp_path: Path) -> None:
    cache, whole = tmp_path / "cache", tmp_path / "whole"
    create(whole, site.references)
    create(cache, site.references[1:])
    before = tree_files(cache)
    added = site.references[0]
    assert cli.run("images", "cache-add", cache, "--images", "-", stdin=added).returncode == 0
    assert tree_files(cache) == tree_files(whole)
    assert cli.run("images", "cache-prune", cache, "--remove", "-", stdin=added).returncode == 0
    assert tree_files(cache) == before

    plain = tmp_path / "plain"
    create(plain, site.references, WITHOUT)
    diff = cli.run("images", "cache-diff", plain, whole)
    assert diff.returncode == 1
    lines = diff.stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines[:-2]] == ["signatures"] * 3
    assert all(line.partition("  ")[2].startswith("none -> sha256:") for line in lines[:3])
    argv = ("images", "cache-add", plain, "--images", "-")
    before = tree_files(plain)
    done = cli.run(*argv, WITHOUT, stdin="\n".join(site.references))
    assert (done.returncode, tree_files(plain)) == (0, before)
    done = cli.run(*argv, stdin="\n".join(site.references))
    assert (done.returncode, tree_files(plain)) == (0, tree_files(whole))


@pytest.fixture
def front(site: Site) -> Iterator[Proxy]:
    """What stands before the registry, and refuses."""
    with running_proxy(site.registry.host) as proxy:
        yield proxy


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("word", [".sig", "manifests/sha256-"])
def test_signatures_that_may_not_be_read_are_left_out(
    site: Site, front: Proxy, tmp_path: Path, status: int, word: str
) -> None:
    front.always(Where(word=word), Answer(status))
    said = create(tmp_path / "cache", [f"{front.host}/{MULTI}:v1"], "--layout", "flat")
    refused = {tag for tag in site.tags("multi") if word in f"manifests/{tag}"}
    lines = said.splitlines()
    assert len(lines) == len(refused)
    for tag in refused:
        assert sum(f"{front.host}/{MULTI}:{tag}: " in line for line in lines) == 1
    assert all(line.startswith("warning: signatures are left out: ") for line in lines)
    left = {each.name for each in (tmp_path / "cache").rglob("reference/*")}
    assert left == {"v1"} | site.tags("multi") - refused
    # It cannot succeed, so it is asked once.
    assert len(front.log.about(f"{site.digests['multi']}.sig")) == 1


def test_a_registry_that_fails_is_an_error(front: Proxy, tmp_path: Path) -> None:
    front.always(Where(word=".sig"), Answer(500))
    argv = ("images", "cache-create", "--images", "-", "--image-cache-path", tmp_path / "cache")
    reference = f"{front.host}/{MULTI}:v1"
    done = cli.run(*argv, "--retries", "0", stdin=reference)
    assert done.returncode == 5
    assert f"\nerror: standard input:1: {reference}: " in done.stderr
    assert not (tmp_path / "cache").exists()
    done = cli.run(*argv, "--retries", "0", WITHOUT, stdin=reference)
    assert done.returncode == 0, done.stderr


def test_what_an_index_names_and_nobody_has_leaves_it_out(
    site: Site, front: Proxy, tmp_path: Path
) -> None:
    tree = layer_tree_of(site, tmp_path / "all")
    index = json.loads(tree[f"sha256-{site.digests['multi']}"])
    gone = index["manifests"][1]["digest"]
    front.always(Where(word=gone), Answer(404))
    said = create(tmp_path / "cache", [f"{front.host}/{MULTI}:v1"], "--layout", "flat")
    assert gone in said
    assert said.count("warning: signatures are left out: ") == 1
    left = {each.name for each in (tmp_path / "cache").rglob("reference/*")}
    assert left == {"v1", f"sha256-{site.digests['multi']}.sig"}
    found = read_json("cache-verify", tmp_path / "cache")
    assert (found["ok"], found["signatures"], found["notes"]) == (True, 1, [])


def layer_tree_of(site: Site, path: Path) -> dict[str, bytes]:
    """Return what is under the tags of an image that is cached at `path`."""
    create(path, [f"{site.registry.host}/{MULTI}:v1"], "--layout", "flat")
    return {each.name: each.read_bytes() for each in path.rglob("reference/*")}


def test_a_mirror_that_has_the_image_is_asked_alone(
    site: Site, front: Proxy, tmp_path: Path
) -> None:
    """Where the registry itself is out of reach, as it is here, and where it is not."""
    option = ("--registry-mirror", f"registry.invalid={front.url}")
    create(tmp_path / "one", [f"registry.invalid/{MULTI}:v1"], *option, "--layout", "flat")
    tags = {each.name for each in (tmp_path / "one").rglob("reference/*")}
    assert tags == {"v1"} | site.tags("multi")
    images = ["registry.invalid/team/unsigned:v1"]
    assert create(tmp_path / "two", images, *option) == ""
    front.always(Where(word="team/multi"), Answer(404))
    option = ("--registry-mirror", f"{site.registry.host}={front.url}")
    create(tmp_path / "three", site.references[:1], *option)
    create(tmp_path / "four", site.references[:1])
    assert layout_blobs(tmp_path / "three")["layer"].name == (
        layout_blobs(tmp_path / "four")["layer"].name
    )


def test_a_local_image_has_no_signatures(site: Site, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    source = f"docker://{site.references[1]}"
    copy_image(source, f"oci:{layout}:v1", "--src-tls-verify=false")
    create(tmp_path / "cache", [f"{site.references[1]}=oci:{layout}:v1"], "--layout", "flat")
    assert {each.name for each in (tmp_path / "cache").rglob("reference/*")} == {"v1"}
