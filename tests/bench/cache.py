"""Image caches of random bytes, made without the code that is measured.

The one of 2 GB has 1 file of 1.2 GB, 8 of 80 MB and 200 small ones: nine images, each with an
index, a manifest, a config and its layers. It stands there three times: as a flat tree, as an OCI
layout with one uncompressed tar layer, and as one with its layer in gzip, as talosctl makes it. The
others are flat trees: one of 20,400 files of 1 kB, and one of 24 MiB.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LARGE_LAYERS = [1_200_000_000, *[80_000_000] * 8]
_SMALL_LAYER = 1_000_000
# With the nine configs and the three files of manifests of each image: 200 small files.
_SMALL_LAYERS = 200 - 4 * len(_LARGE_LAYERS)
_MANY_IMAGES = 200
# With the config and the three files of manifests of each image: 102 files an image.
_MANY_LAYERS = [1000] * 98
_SMALL_IMAGES = [[1 << 20] * 6] * 4
_PIECE = 1 << 20
_REGISTRY = "registry.example"
PLATFORM = {"architecture": "amd64", "os": "linux"}
TYPE = "application/vnd.oci.image."


@dataclass(frozen=True, slots=True)
class BenchCache:
    """The forms of the cache: `flat` is the tree, `layout` a folder with it in a layer.

    The layer of `packed` is compressed. `many` is the tree of the cache with very many files,
    `small` that of 24 MiB.
    """

    flat: Path
    layout: Path
    packed: Path
    many: Path
    small: Path

    @property
    def files(self) -> list[Path]:
        """All files of the tree."""
        return sorted(path for path in self.flat.rglob("*") if path.is_file())

    @property
    def layer(self) -> Path:
        """The layer of the layout."""
        return _layer(self.layout)

    @property
    def packed_layer(self) -> Path:
        """The compressed layer."""
        return _layer(self.packed)


def _layer(layout: Path) -> Path:
    """Return the layer, by far the largest blob of a layout."""
    return max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def bench_cache(folder: Path) -> BenchCache:
    """Return the caches in `folder`; the first call makes them, which takes two minutes."""
    names = ("flat", "layout", "packed", "many", "small")
    cache = BenchCache(*(folder / name for name in names))
    # Earlier versions made fewer of them.
    if not all((folder / name).exists() for name in names):
        shutil.rmtree(folder, ignore_errors=True)
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _make_tree(unfinished / "flat")
        _make_layouts(unfinished)
        _make_many(unfinished / "many")
        _make_small(unfinished / "small")
        os.sync()
        unfinished.rename(folder)
    return cache


def _make_small(tree: Path) -> None:
    for number, layers in enumerate(_SMALL_IMAGES):
        _make_image(tree, f"bench/image{number}", layers)


def _make_many(tree: Path) -> None:
    for number in range(_MANY_IMAGES):
        _make_image(tree, f"bench/small{number}", _MANY_LAYERS)


def _make_tree(tree: Path) -> None:
    for number, size in enumerate(_LARGE_LAYERS):
        small = len(range(number, _SMALL_LAYERS, len(_LARGE_LAYERS)))
        _make_image(tree, f"bench/image{number}", [size, *[_SMALL_LAYER] * small])


def _make_image(tree: Path, name: str, layers: Iterable[int]) -> None:
    blobs = tree / "blob"
    config = json.dumps({**PLATFORM, "rootfs": {"type": "layers", "diff_ids": [name]}}).encode()
    manifest = manifest_json(
        store(blobs, "sha256-", TYPE + "config.v1+json", [config]),
        [
            store(blobs, "sha256-", TYPE + "layer.v1.tar+gzip", _random_pieces(size))
            for size in layers
        ],
    )
    manifests = tree / "manifests" / _REGISTRY / name
    platform = store(manifests / "digest", "sha256-", TYPE + "manifest.v1+json", [manifest])
    index = index_json([{**platform, "platform": PLATFORM}])
    store(manifests / "digest", "sha256-", TYPE + "index.v1+json", [index])
    (manifests / "reference").mkdir()
    (manifests / "reference/v1").write_bytes(index)


def _make_layouts(folder: Path) -> None:
    layer, packed = folder / "layer.tar", folder / "layer.tar.gz"
    with tarfile.open(layer, "w") as tar:
        for name in ("blob", "manifests"):
            tar.add(folder / "flat" / name, name)
    # What does not get smaller is stored, in blocks of one member, as by Go's compress/gzip.
    subprocess.run(["pigz", "-1", "--no-name", "--no-time", "--keep", layer], check=True)
    _make_layout(folder / "layout", layer, TYPE + "layer.v1.tar")
    _make_layout(folder / "packed", packed, TYPE + "layer.v1.tar+gzip")


def _make_layout(layout: Path, layer_file: Path, media_type: str) -> None:
    """Make a layout of the layer, which is moved there."""
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    with layer_file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    layer = _descriptor(media_type, digest, layer_file.stat().st_size)
    layer_file.rename(blobs / digest)
    config = json.dumps({**PLATFORM, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}})
    stored = store(blobs, "", TYPE + "config.v1+json", [config.encode()])
    manifest = store(blobs, "", TYPE + "manifest.v1+json", [manifest_json(stored, [layer])])
    (layout / "index.json").write_bytes(index_json([{**manifest, "platform": PLATFORM}]))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _random_pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, _PIECE):
        yield os.urandom(min(_PIECE, size - start))


def store(folder: Path, prefix: str, media_type: str, pieces: Iterable[bytes]) -> dict[str, Any]:
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


def manifest_json(config: dict[str, Any], layers: list[dict[str, Any]]) -> bytes:
    return _document("manifest", {"config": config, "layers": layers})


def index_json(manifests: list[dict[str, Any]]) -> bytes:
    return _document("index", {"manifests": manifests})


def _document(kind: str, fields: dict[str, Any]) -> bytes:
    head = {"schemaVersion": 2, "mediaType": f"{TYPE}{kind}.v1+json"}
    return json.dumps({**head, **fields}).encode()
