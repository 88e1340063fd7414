"""A 2 GB image cache of random bytes, made without the code that is measured.

The tree is 1 file of 1.2 GB, 8 of 80 MB and 200 small ones: nine images, each with an index, a
manifest, a config and its layers. It stands there twice: as a flat tree, and as an OCI layout with
one uncompressed tar layer.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LARGE_LAYERS = [1_200_000_000, *[80_000_000] * 8]
_SMALL_LAYER = 1_000_000
# With the nine configs and the three files of manifests of each image: 200 small files.
_SMALL_LAYERS = 200 - 4 * len(_LARGE_LAYERS)
_PIECE = 1 << 20
_REGISTRY = "registry.example"
_PLATFORM = {"architecture": "amd64", "os": "linux"}
_TYPE = "application/vnd.oci.image."


@dataclass(frozen=True, slots=True)
class BenchCache:
    """The two forms of the cache: `flat` is the tree, `layout` a folder with it in a layer."""

    flat: Path
    layout: Path

    @property
    def files(self) -> list[Path]:
        """All files of the tree."""
        return sorted(path for path in self.flat.rglob("*") if path.is_file())

    @property
    def layer(self) -> Path:
        """The layer, by far the largest blob of the layout."""
        return max((self.layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def bench_cache(folder: Path) -> BenchCache:
    """Return the cache in `folder`; it is made there by the first call, which takes a minute."""
    cache = BenchCache(folder / "flat", folder / "layout")
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _make_tree(unfinished / "flat")
        _make_layout(unfinished / "layout", unfinished / "flat")
        os.sync()
        unfinished.rename(folder)
    return cache


def _make_tree(tree: Path) -> None:
    (tree / "blob").mkdir(parents=True)
    for number, size in enumerate(_LARGE_LAYERS):
        small = len(range(number, _SMALL_LAYERS, len(_LARGE_LAYERS)))
        _make_image(tree, f"bench/image{number}", [size, *[_SMALL_LAYER] * small])


def _make_image(tree: Path, name: str, layers: Iterable[int]) -> None:
    blobs = tree / "blob"
    config = json.dumps({**_PLATFORM, "rootfs": {"type": "layers", "diff_ids": [name]}}).encode()
    manifest = _manifest(
        _store(blobs, "sha256-", _TYPE + "config.v1+json", [config]),
        [
            _store(blobs, "sha256-", _TYPE + "layer.v1.tar+gzip", _random_pieces(size))
            for size in layers
        ],
    )
    manifests = tree / "manifests" / _REGISTRY / name
    platform = _store(manifests / "digest", "sha256-", _TYPE + "manifest.v1+json", [manifest])
    index = _index([{**platform, "platform": _PLATFORM}])
    _store(manifests / "digest", "sha256-", _TYPE + "index.v1+json", [index])
    (manifests / "reference").mkdir()
    (manifests / "reference/v1").write_bytes(index)


def _make_layout(layout: Path, tree: Path) -> None:
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    with tarfile.open(layout / "layer.tar", "w") as tar:
        tar.add(tree / "blob", "blob")
        tar.add(tree / "manifests", "manifests")
    with (layout / "layer.tar").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = (layout / "layer.tar").stat().st_size
    (layout / "layer.tar").rename(blobs / digest)
    layer = _descriptor(_TYPE + "layer.v1.tar", digest, size)
    config = json.dumps({**_PLATFORM, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}})
    stored = _store(blobs, "", _TYPE + "config.v1+json", [config.encode()])
    manifest = _store(blobs, "", _TYPE + "manifest.v1+json", [_manifest(stored, [layer])])
    (layout / "index.json").write_bytes(_index([{**manifest, "platform": _PLATFORM}]))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _random_pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, _PIECE):
        yield os.urandom(min(_PIECE, size - start))


def _store(folder: Path, prefix: str, media_type: str, pieces: Iterable[bytes]) -> dict[str, Any]:
    """Write a file named by its digest, and return its descriptor."""
    folder.mkdir(parents=True, exist_ok=True)
    unnamed = folder / "unnamed"
    digest = hashlib.sha256()
    with unnamed.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    size = unnamed.stat().st_size
    unnamed.rename(folder / f"{prefix}{digest.hexdigest()}")
    return _descriptor(media_type, digest.hexdigest(), size)


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _manifest(config: dict[str, Any], layers: list[dict[str, Any]]) -> bytes:
    return _document("manifest", {"config": config, "layers": layers})


def _index(manifests: list[dict[str, Any]]) -> bytes:
    return _document("index", {"manifests": manifests})


def _document(kind: str, fields: dict[str, Any]) -> bytes:
    head = {"schemaVersion": 2, "mediaType": f"{_TYPE}{kind}.v1+json"}
    return json.dumps({**head, **fields}).encode()
