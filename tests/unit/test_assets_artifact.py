"""Boot assets as an OCI artifact: its bytes, and artifacts that are none of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imager.bootassets.artifact import artifact_files, plan_artifact
from imager.bootassets.find import find_assets
from imager.oci.manifest import RawManifest
from imager.oci.push import PushPlan
from imager.support.arch import AMD64, ARM64
from imager.support.errors import InputError
from tests.lib.tools.support import content_bytes

FILES = {"vmlinuz": b"kernel", "initramfs.xz": b"same", "grub/x86_64-efi/core.mod": b"same"}
TITLE = "org.opencontainers.image.title"


def write(folder: Path, **more: bytes) -> Path:
    for name, data in (FILES | more).items():
        path = folder / "amd64" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def plan(folder: Path) -> PushPlan:
    return plan_artifact(find_assets(AMD64, given=folder))


def changed(root: RawManifest, **changes: Any) -> RawManifest:
    return RawManifest.parse(json.dumps(json.loads(root.raw) | changes).encode())


def titled(root: RawManifest, *titles: str) -> RawManifest:
    (layer, *_) = json.loads(root.raw)["layers"]
    return changed(root, layers=[layer | {"annotations": {TITLE: title}} for title in titles])


def test_the_manifest(tmp_path: Path) -> None:
    found = plan(write(tmp_path, **{".vmlinuz.partial": b"?"}))
    document = json.loads(found.root.raw)
    assert document["artifactType"] == "application/vnd.imager.boot-assets.v1"
    assert document["annotations"] == {"vnd.imager.boot-assets.arch": "amd64"}
    assert [layer["annotations"][TITLE] for layer in document["layers"]] == sorted(FILES)
    # Of two files that are the same, the bytes go over once.
    sent = {content_bytes(each.content) for each in found.blobs}
    assert sent == {b"kernel", b"same", b"{}"}
    assert len(found.blobs) == 3
    assert plan(write(tmp_path / "again")).root == found.root


def test_the_files_are_found_again(tmp_path: Path) -> None:
    files = artifact_files(plan(write(tmp_path)).root, AMD64, where="x")
    assert {str(file.path) for file in files} == FILES.keys()


def test_there_must_be_assets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vmlinuz for amd64"):
        plan(tmp_path)
    write(tmp_path, **{f"file{number}": b"" for number in range(1001)})
    with pytest.raises(InputError, match="contains 1004 files"):
        plan(tmp_path)


@pytest.mark.parametrize(
    "titles",
    [
        *(["../x"], ["/x"], ["a/../x"], ["a//x"], ["a/"], ["."], [".x"], [""], ["a\\b"], ["a b"]),
        *(["x\n"], ["x" * 256], ["x", "x"], ["x", "x/y"], ["x/y/z", "x/y"], ["ä"]),
    ],
)
def test_paths_that_lead_elsewhere(tmp_path: Path, titles: list[str]) -> None:
    root = titled(plan(write(tmp_path)).root, *titles)
    with pytest.raises(InputError, match=r"^x: "):
        artifact_files(root, AMD64, where="x")


def test_other_artifacts(tmp_path: Path) -> None:
    root = plan(write(tmp_path)).root
    with pytest.raises(InputError, match="is not a boot asset artifact"):
        artifact_files(changed(root, artifactType="a/b"), AMD64, where="x")
    index = {"schemaVersion": 2, "manifests": []}
    with pytest.raises(InputError, match="is not a boot asset artifact"):
        artifact_files(RawManifest.parse(json.dumps(index).encode()), AMD64, where="x")
    with pytest.raises(InputError, match="for 'amd64', not for arm64"):
        artifact_files(root, ARM64, where="x")
    (layer, *_) = json.loads(root.raw)["layers"]
    large = changed(root, layers=[layer | {"size": 1 << 40}])
    with pytest.raises(InputError, match="too large for boot assets"):
        artifact_files(large, AMD64, where="x")
