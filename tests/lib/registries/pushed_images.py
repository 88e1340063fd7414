"""Images pushed to a registry by its own protocol, and caches made of them, read and judged."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lib.caches.caches import (
    MANIFEST_TYPE,
    descriptor,
    dump,
    image_manifest,
    layout_blobs,
    sha256,
)
from tests.lib.tools import cli

DOCKER = "application/vnd.docker.distribution.manifest"
DOCKER_TYPES = (f"{DOCKER}.list.v2+json", f"{DOCKER}.v2+json")
REF_NAME = "org.opencontainers.image.ref.name"
SHARED = random.Random("shared").randbytes(70_001)


def ask(
    host: str, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[bytes, Mapping[str, str]]:
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status in (200, 201, 202), (method, path, answer.status, data)
        return data, dict(answer.headers)
    finally:
        connection.close()


def push_blob(host: str, repository: str, data: bytes) -> None:
    _, headers = ask(host, "POST", f"/v2/{repository}/blobs/uploads/")
    target = headers["Location"].partition(host)[2]
    kind = {"Content-Type": "application/octet-stream"}
    ask(host, "PUT", f"{target}&digest=sha256:{sha256(data)}", data, **kind)


def push_manifest(host: str, repository: str, data: bytes, kind: str, tag: str = "") -> str:
    target = tag or f"sha256:{sha256(data)}"
    ask(host, "PUT", f"/v2/{repository}/manifests/{target}", data, **{"Content-Type": kind})
    return sha256(data)


def push_image(
    host: str, repository: str, arch: str, *, kind: str = MANIFEST_TYPE, tag: str = ""
) -> dict[str, object]:
    """Push an image of two layers, one of them in every image; return its index entry."""
    config = dump({"architecture": arch, "os": "linux", "of": repository})
    layers = [SHARED, random.Random(f"{repository} {arch}").randbytes(50_003)]
    for blob in (config, *layers):
        push_blob(host, repository, blob)
    manifest = image_manifest(config, layers, mediaType=kind)
    push_manifest(host, repository, manifest, kind, tag)
    return descriptor(kind, manifest, platform={"architecture": arch, "os": "linux"})


def push_attestation(host: str, repository: str) -> dict[str, object]:
    """Push what BuildKit puts beside an image; return its index entry."""
    config, layer = dump({"architecture": "unknown", "os": "unknown"}), b'{"predicate": 1}'
    for blob in (config, layer):
        push_blob(host, repository, blob)
    manifest = image_manifest(config, [layer], layer_type="application/vnd.in-toto+json")
    push_manifest(host, repository, manifest, MANIFEST_TYPE)
    return descriptor(
        MANIFEST_TYPE,
        manifest,
        platform={"architecture": "unknown", "os": "unknown"},
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )


def push_index(host: str, repository: str, entries: Sequence[object], kind: str) -> str:
    # Odd spacing: these bytes, not what they say, must reach the cache.
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}, indent=3)
    return push_manifest(host, repository, index.encode(), kind, "v1")


def digest_of(entry: Mapping[str, Any]) -> str:
    return str(entry["digest"]).removeprefix("sha256:")


def create(path: Path, images: Sequence[str], *options: str, **run: Any) -> Path:
    argv = ["images", "cache-create", "--images", "-", "--image-cache-path", str(path), *options]
    done = cli.run(*argv, stdin="\n".join(images), **run)
    assert done.returncode == 0, done.stderr
    return path


def layer_tree(layout: Path) -> dict[str, bytes]:
    """Return the files of the layer, read by Python's tarfile; each must be there once."""
    files: dict[str, bytes] = {}
    with tarfile.open(layout_blobs(layout)["layer"]) as tar:
        for member in tar:
            if member.isdir():
                continue
            assert member.isreg()
            assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
            file = tar.extractfile(member)
            assert file is not None
            assert member.name not in files
            files[member.name] = file.read()
    return files


def platforms_of(layout: Path) -> list[str]:
    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert len({entry["digest"] for entry in entries}) == 1
    # One name alone: umoci takes a second one for an ambiguous tag.
    names = [entry.get("annotations", {}).get(REF_NAME) for entry in entries]
    assert names == ["latest", *[None] * (len(entries) - 1)]
    return [f"{entry['platform']['os']}/{entry['platform']['architecture']}" for entry in entries]


def skopeo_copies(layout: Path, target: Path) -> int:
    argv = ("skopeo", "--insecure-policy", "copy", f"oci:{layout}:latest", f"dir:{target}")
    return subprocess.run(argv, capture_output=True, check=False).returncode


def umoci_unpacks(layout: Path, target: Path) -> bool:
    argv = ("umoci", "unpack", "--rootless", "--image", f"{layout}:latest", target)
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
