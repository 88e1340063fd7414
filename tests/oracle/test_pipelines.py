"""The pipelines that the project shows, run for real against a registry, and Tekton's schema."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.lib.registries.pushed_images import push_image
from tests.lib.registries.registry import RunningRegistry
from tests.lib.tools.cli import build, built_tools, run, synthetic_assets, tool
from tests.lib.tools.pipelines import (
    TEKTON,
    Inputs,
    run_github,
    run_gitlab,
    run_make,
    run_tekton,
    task_schema,
)

pytestmark = pytest.mark.oracle

PIPELINES: dict[str, Callable[[Path, Inputs], str]] = {
    "action": run_github,
    "gitlab": run_gitlab,
    "tekton": run_tekton,
    "make": run_make,
}
OPTIONS = "--arch amd64 --talos-version v1.13.0"
# What comes with the output.
RELEASE = ("bmap", "spdx.json", "cdx.json", "provenance.json")


@dataclass(frozen=True, slots=True)
class Site:
    """The inputs of all pipelines, and the SHA-256 of what they are to give."""

    inputs: Inputs
    public_key: Path
    sha256: str


@pytest.fixture(scope="module")
def site(registry: RunningRegistry, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    key, public = folder / "key/key.pem", folder / "key.pub"
    key.parent.mkdir()
    tool("openssl", "ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", key)
    tool("openssl", "ec", "-in", key, "-pubout", "-out", public)
    push_image(registry.host, "team/app", "amd64", tag="v1")
    assets = synthetic_assets(folder / "assets")
    images = folder / "images.txt"
    images.write_text(f"{registry.host}/team/app:v1\n")
    cache = folder / "cache.oci"
    done = run("images", "cache-create", "--images", images, "--image-cache-path", cache)
    assert done.returncode == 0, done.stderr
    given = ("--assets", assets, "--image-cache", cache, "--checksum", "-o", folder / "out")
    sha256 = build("iso", *OPTIONS.split(), *given)["sha256"]
    return Site(Inputs(assets, images.read_text(), OPTIONS, key, ""), public, sha256)


@pytest.mark.parametrize("name", PIPELINES)
def test_what_is_published_is_locked_described_and_signed(
    name: str, site: Site, registry: RunningRegistry, tmp_path: Path
) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "images.txt").write_text(site.inputs.images)
    target = f"{registry.host}/talos/{name}:v1"
    inputs = replace(site.inputs, images="images.txt", reference=target)

    published = PIPELINES[name](folder, inputs)

    output = folder / "_out/metal-amd64.iso"
    assert tool("sha256sum", output).split()[0] == site.sha256
    inspected = json.loads(output.with_name("metal-amd64.iso.inspect.json").read_text())
    assert inspected["findings"] == []
    assert output.with_name("metal-amd64.iso.inspect.html").read_text().startswith("<!doctype html")
    fetched = tmp_path / "fetched"
    done = run("fetch", published, "-o", fetched)
    assert done.returncode == 0, done.stderr
    names = ["metal-amd64.iso", *(f"metal-amd64.iso.{suffix}" for suffix in RELEASE)]
    signatures = [f"{each}.sigstore.json" for each in names]
    assert {path.name for path in fetched.iterdir()} == {*names, *signatures, "SHA256SUMS"}
    tool("sh", "-c", f"cd {fetched} && sha256sum --check --strict --quiet SHA256SUMS")
    bundle = json.loads((fetched / "metal-amd64.iso.sigstore.json").read_text())
    signature = tmp_path / "signature"
    signature.write_bytes(base64.b64decode(bundle["messageSignature"]["signature"]))
    tool(
        *("openssl", "dgst", "-sha256", "-verify", site.public_key),
        *("-signature", signature, fetched / "metal-amd64.iso"),
    )


def test_a_second_run_uses_the_locks_when_the_tag_has_moved(
    site: Site, registry: RunningRegistry, tmp_path: Path
) -> None:
    repository = "team/moving"
    push_image(registry.host, repository, "amd64", tag="v1")
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "images.txt").write_text(f"{registry.host}/{repository}:v1\n")
    target = f"{registry.host}/talos/moving:v1"
    inputs = replace(site.inputs, images="images.txt", reference=target)
    output = folder / "_out/metal-amd64.iso"
    run_tekton(folder, inputs)
    first = tool("sha256sum", output)

    push_image(registry.host, repository, "arm64", tag="v1")
    for made in (folder / "_out", folder / "image-cache.oci"):
        shutil.rmtree(made)
    run_tekton(folder, inputs)
    assert tool("sha256sum", output) == first
    update = ("--images", folder / "images.txt", "-o", folder / "images.lock", "--update")
    moved = json.loads(run("images", "lock", *update, "--json").stdout)["changes"]
    assert moved


def test_the_task_meets_tektons_schema() -> None:
    (crd,) = built_tools().glob("tekton-*/300-task.yaml")
    validator = jsonschema.Draft202012Validator(task_schema(crd))
    task = yaml.safe_load(TEKTON.read_text())
    assert [error.message for error in validator.iter_errors(task)] == []
    task["spec"]["steps"][0]["scripts"] = task["spec"]["steps"][0].pop("script")
    assert not validator.is_valid(task)
