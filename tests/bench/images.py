"""Images to pull: 2 GB in ten of them, made without the code that is measured.

Each has a layer of 120 MB and four of 20 MB. The layers are gzip streams, as clients expect them,
whose contents are random bytes that do not get smaller.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.bench.cache import PLATFORM, TYPE, index_json, manifest_json, store

_IMAGES = 10
_LAYERS = [120_000_000, *[20_000_000] * 4]
_PIECE = 1 << 20
_STORED = 0
_GZIP = 31


@dataclass(frozen=True, slots=True)
class RemoteImages:
    """Images in a registry: their references, and the URL of each blob with its digest."""

    references: tuple[str, ...]
    blobs: tuple[tuple[str, str], ...]


def bench_images(folder: Path) -> Path:
    """Return an OCI layout of the images in `folder`, tagged `image0` to `image9`."""
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        subprocess.run(["rm", "-rf", unfinished], check=True)
        _make_layout(unfinished)
        unfinished.rename(folder)
    return folder


def push_images(layout: Path, host: str) -> RemoteImages:
    """Copy the images to the registry on `host`, with skopeo, and return what is there."""
    references, blobs = [], []
    for entry in json.loads((layout / "index.json").read_text())["manifests"]:
        name = entry["annotations"]["org.opencontainers.image.ref.name"]
        target = f"{host}/bench/{name}:v1"
        copy = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]
        subprocess.run([*copy, f"oci:{layout}:{name}", f"docker://{target}"], check=True)
        references.append(target)
        manifest = json.loads((layout / "blobs" / entry["digest"].replace(":", "/")).read_text())
        for blob in (manifest["config"], *manifest["layers"]):
            url = f"http://{host}/v2/bench/{name}/blobs/{blob['digest']}"
            blobs.append((url, blob["digest"].removeprefix("sha256:")))
    return RemoteImages(tuple(references), tuple(blobs))


def push_many_images(host: str, *, count: int = 500) -> list[str]:
    """Put `count` small images, each for three platforms, into the registry; return their names."""
    session = requests.Session()
    references = []
    for number in range(count):
        repository = f"many/image{number}"
        entries = []
        for arch in ("amd64", "arm64", "ppc64le"):
            platform = {"architecture": arch, "os": "linux"}
            config = {**platform, "rootfs": {"type": "layers", "diff_ids": [str(number)]}}
            stored = _upload(session, host, repository, json.dumps(config).encode())
            layer = _upload(session, host, repository, f"{number} {arch}".encode())
            manifest = manifest_json(
                {"mediaType": TYPE + "config.v1+json", **stored},
                [{"mediaType": TYPE + "layer.v1.tar+gzip", **layer}],
            )
            put = _put(session, host, repository, manifest, kind="manifest")
            entries.append({**put, "platform": platform})
        _put(session, host, repository, index_json(entries), kind="index", tag="v1")
        references.append(f"{host}/{repository}:v1")
    return references


def _upload(session: requests.Session, host: str, repository: str, data: bytes) -> dict[str, Any]:
    begun = session.post(f"http://{host}/v2/{repository}/blobs/uploads/")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    done = session.put(f"{begun.headers['Location']}&digest={digest}", data=data)
    done.raise_for_status()
    return {"digest": digest, "size": len(data)}


def _put(
    session: requests.Session, host: str, repository: str, data: bytes, *, kind: str, tag: str = ""
) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    media_type = f"{TYPE}{kind}.v1+json"
    url = f"http://{host}/v2/{repository}/manifests/{tag or digest}"
    session.put(url, data=data, headers={"Content-Type": media_type}).raise_for_status()
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _make_layout(layout: Path) -> None:
    blobs = layout / "blobs/sha256"
    entries = []
    for number in range(_IMAGES):
        plain: list[str] = []
        layers = [
            store(blobs, "", TYPE + "layer.v1.tar+gzip", _layer(size, plain)) for size in _LAYERS
        ]
        config = {**PLATFORM, "rootfs": {"type": "layers", "diff_ids": plain}}
        stored = store(blobs, "", TYPE + "config.v1+json", [json.dumps(config).encode()])
        manifest = store(blobs, "", TYPE + "manifest.v1+json", [manifest_json(stored, layers)])
        name = {"org.opencontainers.image.ref.name": f"image{number}"}
        entries.append({**manifest, "annotations": name})
    (layout / "index.json").write_bytes(index_json(entries))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _layer(size: int, diff_ids: list[str]) -> Iterator[bytes]:
    """Yield a layer in pieces; the digest of what is in it comes to `diff_ids` at the end."""
    packer = zlib.compressobj(_STORED, wbits=_GZIP)
    digest = hashlib.sha256()
    for start in range(0, size, _PIECE):
        data = os.urandom(min(_PIECE, size - start))
        digest.update(data)
        yield packer.compress(data)
    yield packer.flush()
    diff_ids.append(f"sha256:{digest.hexdigest()}")
