"""`imager publish` and `imager fetch`, with oras and crane as judges."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from tests.lib.caches.caches import dump, tree_files
from tests.lib.registries.registry import RunningRegistry
from tests.lib.tools import cli
from tests.lib.tools.crane import crane
from tests.lib.tools.oras import oras

pytestmark = pytest.mark.oracle

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
OUTPUTS = {
    "metal-amd64.iso": random.Random(1).randbytes(3 << 20),
    "metal-amd64.raw.zst": random.Random(2).randbytes(1 << 20),
}
BESIDE = {
    "metal-amd64.iso.spdx.json": b'{"spdxVersion": "SPDX-2.3"}',
    "metal-amd64.iso.intoto.json": b"{}",
    "metal-amd64.iso.sigstore.json": dump({"mediaType": BUNDLE}),
    "SHA256SUMS": "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in OUTPUTS.items()
    ).encode(),
}
FILES = OUTPUTS | BESIDE


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def published(registry: RunningRegistry, out: Path) -> str:
    """The reference that is printed: with the digest."""
    outputs = [out / name for name in OUTPUTS]
    done = cli.run("publish", *outputs, f"{registry.host}/talos/metal:v1", "--quiet")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_oras_pulls_the_outputs(published: str, tmp_path: Path) -> None:
    oras("pull", published, "-o", tmp_path)
    assert tree_files(tmp_path) == OUTPUTS


def test_oras_discovers_what_is_attached(published: str, tmp_path: Path) -> None:
    """In Debian's registry, which lacks the referrers API: by the tag of the specification."""
    listed = json.loads(oras("discover", published, "--format", "json"))
    kinds = {each["artifactType"]: each["reference"] for each in listed["manifests"]}
    assert kinds.keys() == {
        "application/spdx+json",
        "application/vnd.in-toto+json",
        "application/vnd.imager.sha256sums.v1",
        BUNDLE,
    }
    for reference in kinds.values():
        oras("pull", reference, "-o", tmp_path)
    assert tree_files(tmp_path) == BESIDE


def test_crane_reads_it(published: str, tmp_path: Path) -> None:
    document = json.loads(crane("manifest", "--insecure", published))
    assert document["artifactType"] == "application/vnd.imager.output.v1"
    kinds = [layer["mediaType"] for layer in document["layers"]]
    assert kinds == ["application/vnd.efi.iso", "application/zstd"]
    crane("pull", "--insecure", "--format", "oci", published, tmp_path)
    blobs = {path.read_bytes() for path in (tmp_path / "blobs/sha256").iterdir()}
    assert blobs > set(OUTPUTS.values())


def test_a_copy_by_oras_is_fetched(
    published: str, registry: RunningRegistry, tmp_path: Path
) -> None:
    copy = f"{registry.host}/mirror/metal:v1"
    command = ("--from-plain-http", "--to-plain-http", published, copy)
    cli.tool(cli.go_tool("oras"), "copy", "--recursive", *command)
    done = cli.run("fetch", copy, "-o", tmp_path / "to")
    assert done.returncode == 0, done.stderr
    assert tree_files(tmp_path / "to") == FILES
    assert done.stdout.splitlines()[:2] == [f"{tmp_path}/to/{name}" for name in OUTPUTS]
    assert {Path(line).name for line in done.stdout.splitlines()} == FILES.keys()


def test_what_oras_has_pushed_is_fetched(
    registry: RunningRegistry, out: Path, tmp_path: Path
) -> None:
    reference = f"{registry.host}/others/metal:v1"
    oras("push", reference, "metal-amd64.iso", cwd=out)
    sbom = "metal-amd64.iso.spdx.json"
    oras(
        "attach",
        reference,
        f"{sbom}:application/spdx+json",
        "--artifact-type",
        "application/spdx+json",
        cwd=out,
    )
    done = cli.run("fetch", reference, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert tree_files(tmp_path) == {name: FILES[name] for name in ("metal-amd64.iso", sbom)}


def test_a_platform_of_an_index(registry: RunningRegistry, out: Path, tmp_path: Path) -> None:
    reference = f"{registry.host}/talos/all:v1"
    for name, platform in zip(OUTPUTS, ("linux/amd64", "linux/arm64"), strict=True):
        done = cli.run("publish", out / name, reference, "--platform", platform, "--no-beside")
        assert done.returncode == 0, done.stderr
    (name, data) = list(OUTPUTS.items())[1]
    oras("pull", reference, "--platform", "linux/arm64", "-o", tmp_path / "by-oras")
    assert cli.run("fetch", reference, "-o", tmp_path / "to").returncode == 2
    done = cli.run("fetch", reference, "--platform", "linux/arm64", "-o", tmp_path / "to")
    assert done.returncode == 0, done.stderr
    assert tree_files(tmp_path / "to") == tree_files(tmp_path / "by-oras") == {name: data}


def test_a_damaged_blob_is_refused(
    published: str, registry: RunningRegistry, tmp_path: Path
) -> None:
    digest = hashlib.sha256(OUTPUTS["metal-amd64.iso"]).hexdigest()
    blob = registry.storage / "docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"
    data = blob.read_bytes()
    blob.write_bytes(bytes(len(data)))
    try:
        done = cli.run("fetch", published, "-o", tmp_path / "to", "--retries", "0", "--json")
    finally:
        blob.write_bytes(data)
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stdout)["error"]["id"] == "wrong-bytes"
    assert not list((tmp_path / "to").glob("[!.]*"))
