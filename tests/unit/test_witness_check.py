"""The witness's check script, run by the host's shell on trees that are whole or damaged."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.lib.caches.caches import sha256

SCRIPT = Path(__file__).parents[2] / "imager/distro/witness/check"
BASE = "org.opencontainers.image.base.digest"


class Tree:
    """A cache of two images: one behind an index, of which one platform is there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layer = self.blob(b"layer" * 1000)
        pause = self.image("registry.k8s.io/pause", self.layer)
        self.manifest("registry.k8s.io/pause", pause, "3.10")
        self.alpine = self.image("docker.io/library/alpine", self.blob(b"other"))
        self.manifest("docker.io/library/alpine", self.alpine)
        descriptors = [{"digest": f"sha256:{'1' * 64}"}, {"digest": self.name(self.alpine)}]
        self.index = json.dumps({"manifests": descriptors}, indent=2).encode()
        self.manifest("docker.io/library/alpine", self.index, "3.20")

    @staticmethod
    def name(data: bytes) -> str:
        return f"sha256:{sha256(data)}"

    def blob(self, data: bytes) -> Path:
        path = self.root / "blob" / f"sha256-{sha256(data)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def image(self, repository: str, layer: Path) -> bytes:
        config = self.blob(repository.encode())
        names = [{"digest": path.name.replace("-", ":")} for path in (config, layer)]
        annotations = {BASE: f"sha256:{'2' * 64}"}
        return json.dumps(
            {"config": names[0], "layers": names[1:], "annotations": annotations}
        ).encode()

    def manifest(self, repository: str, data: bytes, tag: str = "") -> None:
        folder = self.root / "manifests" / repository
        (folder / "digest").mkdir(parents=True, exist_ok=True)
        self.digest_path(repository, data).write_bytes(data)
        if tag:
            (folder / "reference").mkdir(exist_ok=True)
            (folder / "reference" / tag).write_bytes(data)

    def digest_path(self, repository: str, data: bytes) -> Path:
        return self.root / "manifests" / repository / "digest" / f"sha256-{sha256(data)}"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "cache")


def check(root: Path) -> str:
    done = subprocess.run(
        ["sh", SCRIPT, root, "/dev/vda2"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 1
    return done.stdout.strip().replace(str(root), "ROOT")


def failed(reason: str, *, blobs: int = 4, size: int = 5050) -> str:
    return (
        f"imagecache: failed root=ROOT device=/dev/vda2 blobs={blobs} bytes={size}"
        f' reason="{reason}"'
    )


def test_a_whole_cache_is_ready(tree: Tree) -> None:
    # Blobs of 5000 + 5 bytes, configs of 21 + 24 bytes.
    assert check(tree.root) == (
        "imagecache: ready root=ROOT device=/dev/vda2 blobs=4 bytes=5050 images=2"
    )


def test_a_damaged_blob_is_named(tree: Tree) -> None:
    tree.layer.write_bytes(b"Layer" + b"layer" * 999)
    assert check(tree.root) == failed(f"blob {tree.layer.name} is damaged")


def test_a_short_blob_is_named(tree: Tree) -> None:
    tree.layer.write_bytes(b"layer")
    assert check(tree.root) == failed(f"blob {tree.layer.name} is damaged", size=55)


def test_a_missing_blob_is_named_with_its_image(tree: Tree) -> None:
    tree.layer.unlink()
    reason = f"blob {tree.layer.name} is missing (image registry.k8s.io/pause)"
    assert check(tree.root) == failed(reason, blobs=3, size=50)


def test_a_blob_whose_name_is_no_digest_is_damaged(tree: Tree) -> None:
    (tree.root / "blob/sha256-1234").write_bytes(b"")
    assert check(tree.root) == failed("blob sha256-1234 is damaged", blobs=5)


def test_a_damaged_manifest_is_named(tree: Tree) -> None:
    path = tree.digest_path("docker.io/library/alpine", tree.alpine)
    path.write_bytes(tree.alpine + b" ")
    relative = path.relative_to(tree.root / "manifests")
    assert check(tree.root) == failed(f"manifest {relative} is damaged")


def test_a_damaged_reference_is_named(tree: Tree) -> None:
    relative = "registry.k8s.io/pause/reference/3.10"
    (tree.root / "manifests" / relative).write_bytes(b"{}")
    assert check(tree.root) == failed(f"manifest {relative} is damaged")


def test_an_index_without_any_of_its_manifests_fails(tree: Tree) -> None:
    tree.digest_path("docker.io/library/alpine", tree.alpine).unlink()
    reason = (
        f"index sha256-{sha256(tree.index)} has none of its manifests"
        " (image docker.io/library/alpine)"
    )
    assert check(tree.root) == failed(reason)


def test_what_a_signature_belongs_to_is_a_manifest(tree: Tree) -> None:
    subject = {"digest": tree.name(tree.alpine)}
    layer = {"digest": tree.layer.name.replace("-", ":")}
    signature = json.dumps({"config": layer, "layers": [layer], "subject": subject}).encode()
    tree.manifest("docker.io/library/alpine", signature)
    assert check(tree.root).startswith("imagecache: ready ")


def test_an_empty_cache_fails(tmp_path: Path) -> None:
    reason = "the image cache has no manifests"
    assert check(tmp_path) == failed(reason, blobs=0, size=0)
