"""The patches of `imager config patch`, as yq reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imager.support.units import parse_size
from tests.lib.caches.caches import CacheFixture, make_flat, make_layout, make_tar
from tests.lib.caches.tars import make_archive
from tests.lib.registries.registry import running_registry
from tests.lib.tools import cli

FIELD = {"machine": {"features": {"imageCache": {"localEnabled": True}}}}
DOCUMENT = {"apiVersion": "v1alpha1", "kind": "ImageCacheConfig", "local": {"enabled": True}}


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("caches")
    flat = make_flat(folder / "flat", images=2, blob_size=10_000_000)
    return {
        "flat": flat.folder,
        "layout": make_layout(flat, folder / "layout"),
        "gzip": make_layout(flat, folder / "gzip", codec="gzip"),
        "tar": make_tar(flat, folder / "cache.tar"),
    }


def patch(cache: Path, *options: str) -> str:
    done = cli.run("config", "patch", "--image-cache", cache, *options)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def documents(text: str) -> list[dict[str, Any]]:
    said = cli.tool("yq", "-c", ".", stdin=text.encode())
    return [json.loads(line) for line in said.splitlines()]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ([], FIELD),
        (["--talos-version", "v1.13.9"], FIELD),
        (["--talos-version", "1.14"], DOCUMENT),
    ],
)
def test_the_documents(caches: dict[str, Path], options: list[str], first: object) -> None:
    cache, volume = documents(patch(caches["flat"], *options))
    assert cache == first
    provisioning = volume.pop("provisioning")
    assert volume == {"apiVersion": "v1alpha1", "kind": "VolumeConfig", "name": "IMAGECACHE"}
    assert provisioning.pop("diskSelector") == {"match": "system_disk"}
    files = sum(path.stat().st_size for path in caches["flat"].rglob("*") if path.is_file())
    assert files < parse_size(provisioning["minSize"]) < parse_size(provisioning["maxSize"])


def test_every_form_of_a_cache_has_the_same_patch(caches: dict[str, Path]) -> None:
    assert len({patch(path) for path in caches.values()}) == 1


def test_without_a_volume(caches: dict[str, Path]) -> None:
    assert documents(patch(caches["flat"], "--no-volume")) == [FIELD]


def test_yq_objects_to_what_is_no_yaml(caches: dict[str, Path]) -> None:
    broken = patch(caches["flat"]).replace("name: ", "name ", 1)
    assert "yq: Error" in cli.tool("yq", "-c", ".", stdin=broken.encode(), status=1)


def test_the_patch_is_right_for_its_cache(caches: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "patch.yaml"
    path.write_text(patch(caches["flat"]))
    done = cli.run("config", "check", path, "--image-cache", caches["tar"])
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{path}: 2 documents, no problems found" in done.stdout


def test_archives_and_registries_have_the_same_patch(
    caches: dict[str, Path], tmp_path: Path
) -> None:
    flat = CacheFixture(caches["flat"], (), ())
    wanted = patch(caches["flat"])
    assert patch(make_archive(flat, tmp_path / "c.tar", layout=True, prefix="x/")) == wanted
    with running_registry(tmp_path / "registry") as registry:
        reference = f"{registry.host}/talos/image-cache:v1"
        done = cli.run("images", "cache-push", caches["layout"], reference)
        assert done.returncode == 0, done.stderr
        done = cli.run("config", "patch", "--image-cache", reference)
        assert (done.returncode, done.stdout) == (0, wanted)
        done = cli.run(
            *("config", "check", "-", "--image-cache", reference, "--layer-cache", tmp_path / "l"),
            stdin=wanted,
        )
        assert done.returncode == 0, done.stderr
        assert "all in the cache" in done.stdout
        assert len(list((tmp_path / "l").iterdir())) == 1
