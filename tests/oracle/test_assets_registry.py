"""`imager assets push` and `pull`, with oras and crane as judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from oras.client import OrasClient

from tests.lib.caches.caches import tree_files
from tests.lib.registries.registry import RunningRegistry
from tests.lib.tools import cli
from tests.lib.tools.crane import crane

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the kind that `assets fetch` makes."""
    folder = tmp_path_factory.mktemp("assets")
    for name, size in {
        "vmlinuz": 300_000,
        "grub/i386-pc/kernel.img": 999,
        "sources.json": 2,
    }.items():
        path = folder / "amd64" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * size)
    return folder


@pytest.fixture(scope="module")
def pushed(registry: RunningRegistry, assets: Path) -> str:
    """The reference that is printed: with the digest."""
    reference = f"{registry.host}/talos/assets:v1"
    done = cli.run("assets", "push", reference, "--assets", assets, "--quiet")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_is_pushed_is_pulled(pushed: str, assets: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time, it is replaced
        done = cli.run("assets", "pull", pushed, "--folder", tmp_path / "to")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{tmp_path / 'to/amd64'}\n"
        assert tree_files(tmp_path / "to") == tree_files(assets)


def test_crane_and_oras_read_it(pushed: str, assets: Path, tmp_path: Path) -> None:
    document = json.loads(crane("manifest", "--insecure", pushed))
    assert document["artifactType"] == "application/vnd.imager.boot-assets.v1"
    crane("pull", "--insecure", "--format", "oci", pushed, tmp_path / "layout")
    assert len(list((tmp_path / "layout/blobs/sha256").iterdir())) == len(document["layers"]) + 2
    OrasClient(insecure=True).pull(target=pushed.partition("@")[0], outdir=str(tmp_path / "to"))
    assert tree_files(tmp_path / "to") == tree_files(assets / "amd64")


def test_json(pushed: str, registry: RunningRegistry, assets: Path, tmp_path: Path) -> None:
    target = f"{registry.host}/talos/assets:v2"
    done = cli.run("assets", "push", target, "--assets", assets, "--json")
    digest = pushed.partition("@")[2]
    assert json.loads(done.stdout)["digest"] == digest
    done = cli.run("assets", "pull", pushed, "--folder", tmp_path, "--json")
    found = json.loads(done.stdout)
    assert found["folder"] == str(tmp_path / "amd64")
    assert {each["path"]: each["size"] for each in found["files"]} == {
        name: len(data) for name, data in tree_files(assets / "amd64").items()
    }


def test_it_is_not_for_another_architecture(pushed: str, tmp_path: Path) -> None:
    done = cli.run("assets", "pull", pushed, "--arch", "arm64", "--folder", tmp_path / "to")
    assert (done.returncode, done.stdout) == (2, "")
    assert "for 'amd64', not for arm64" in done.stderr
    assert not (tmp_path / "to").exists()


def test_files_of_others_are_not_replaced(pushed: str, tmp_path: Path) -> None:
    (tmp_path / "amd64").mkdir()
    (tmp_path / "amd64" / "mine").write_text("x")
    done = cli.run("assets", "pull", pushed, "--folder", tmp_path)
    assert done.returncode == 2
    assert "did not create" in done.stderr
    assert tree_files(tmp_path) == {"amd64/mine": b"x"}


def test_a_damaged_blob_leaves_nothing(
    pushed: str, registry: RunningRegistry, tmp_path: Path
) -> None:
    digest = json.loads(crane("manifest", "--insecure", pushed))["layers"][-1]["digest"]
    place = "docker/registry/v2/blobs/sha256"
    blob = registry.storage / place / digest[7:9] / digest[7:] / "data"
    data = blob.read_bytes()
    blob.write_bytes(bytes(len(data)))
    try:
        done = cli.run("assets", "pull", pushed, "--folder", tmp_path / "to", "--retries", "0")
    finally:
        blob.write_bytes(data)
    assert done.returncode == 5, done.stderr
    assert "does not match its digest" in done.stderr
    assert not (tmp_path / "to" / "amd64").exists()
