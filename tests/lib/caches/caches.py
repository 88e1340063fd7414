"""Image caches for tests, made from FORMATS alone: no code of the program is used here.

The bytes are the same in every run: blobs come from seeded random numbers.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

OCI = "application/vnd.oci.image"
MANIFEST_TYPE = f"{OCI}.manifest.v1+json"
INDEX_TYPE = f"{OCI}.index.v1+json"
CONFIG_TYPE = f"{OCI}.config.v1+json"
LAYER_TYPE = f"{OCI}.layer.v1.tar"
REGISTRY = "registry.local:5000"
REGISTRY_FOLDER = "registry.local_5000_"


@dataclass(frozen=True, slots=True)
class CacheFixture:
    """A flat tree: `references` are its images, `blobs` the paths of its blobs (absolute)."""

    folder: Path
    references: tuple[str, ...]
    blobs: tuple[Path, ...]

    @property
    def files(self) -> dict[str, bytes]:
        """Every file of the tree, by its path inside it."""
        return tree_files(self.folder)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def tree_files(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file under `folder`, by its path inside it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def dump(value: Mapping[str, Any]) -> bytes:
    """Return `value` as JSON."""
    return json.dumps(value).encode()


def descriptor(kind: str, data: bytes, **more: object) -> dict[str, object]:
    """Return the descriptor of `data`."""
    return {"mediaType": kind, "digest": f"sha256:{sha256(data)}", "size": len(data), **more}


def image_manifest(
    config: bytes, layers: Sequence[bytes], /, *, layer_type: str = LAYER_TYPE, **more: object
) -> bytes:
    """Return the manifest of an image; `more` are fields besides, or in place of, its own."""
    return dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [descriptor(layer_type, layer) for layer in layers],
            **more,
        }
    )


def image_index(entries: Sequence[object], /, **more: object) -> bytes:
    """Return an index of manifests."""
    return dump({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries, **more})


def _platform(arch: str) -> dict[str, str]:
    return {"architecture": arch, "os": "linux"}


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def make_flat(
    folder: Path,
    *,
    images: int = 3,
    blob_size: int = 100_000,
    layers: int = 2,
    arches: Sequence[str] = ("amd64",),
    registry: str = REGISTRY,
) -> CacheFixture:
    """Make a flat tree of `images` multi-platform images, `layers` blobs of `blob_size` bytes each.

    The images are `<registry>/team/img<n>:v1`; blob sizes differ by a byte each, so that none is
    aligned to anything.
    """
    blobs: list[Path] = []
    references = []
    place = registry.replace(":", "_") + "_" if ":" in registry else registry
    for number in range(images):
        base = folder / "manifests" / place / "team" / f"img{number}"
        entries = []
        for arch in arches:
            manifest, files = _image(number, arch, blob_size=blob_size, layers=layers)
            blobs.extend(_write(folder / "blob" / f"sha256-{sha256(f)}", f) for f in files)
            _write(base / "digest" / f"sha256-{sha256(manifest)}", manifest)
            entries.append(descriptor(MANIFEST_TYPE, manifest, platform=_platform(arch)))
        index = image_index(entries)
        _write(base / "reference" / "v1", index)
        _write(base / "digest" / f"sha256-{sha256(index)}", index)
        references.append(f"{registry}/team/img{number}:v1")
    return CacheFixture(folder, tuple(references), tuple(blobs))


def _image(number: int, arch: str, *, blob_size: int, layers: int) -> tuple[bytes, list[bytes]]:
    config = dump({"architecture": arch, "os": "linux", "number": number})
    data = [
        random.Random(f"{number} {arch} {layer}").randbytes(blob_size + layer + number)
        for layer in range(layers)
    ]
    return image_manifest(config, data), [config, *data]


def tar_bytes(files: Mapping[str, bytes], *, format: int = tarfile.GNU_FORMAT) -> bytes:  # noqa: A002
    """Return a tar of `files` in their order, with the folders that lead to them."""
    buffer = io.BytesIO()
    known: set[str] = set()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in files.items():
            parts = name.split("/")[:-1]
            for depth in range(1, len(parts) + 1):
                folder = "/".join(parts[:depth])
                if folder not in known:
                    known.add(folder)
                    info = tarfile.TarInfo(folder)
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(info)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_without_folders(files: Mapping[str, bytes]) -> bytes:
    """Return a tar of `files` alone, as this program's layers were before they had folders."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_old_layout(flat: CacheFixture, folder: Path) -> Path:
    """Make an OCI layout whose layer has no entries of folders."""
    return make_layout_of(folder, tar_without_folders(flat.files), media_type=LAYER_TYPE)


def drop_tag(flat: CacheFixture, number: int = 0) -> str:
    """Leave an image its digest alone; return the folder `reference` that it must have."""
    base = f"manifests/{REGISTRY_FOLDER}/team/img{number}/reference"
    shutil.rmtree(flat.folder / base)
    return base


def unpack_as_talos(tar: Path, folder: Path) -> Path:
    """Unpack a tar into the new folder `folder` as Talos before 1.14 does: it makes no parents."""
    folder.mkdir()
    with tarfile.open(tar) as archive:
        for member in archive:
            if member.isdir():
                (folder / member.name).mkdir(mode=member.mode | 0o700, exist_ok=True)
                continue
            data = archive.extractfile(member)
            assert data is not None
            with (folder / member.name).open("xb") as file:
                shutil.copyfileobj(data, file)
    return folder


def compress(data: bytes, codec: str | None) -> bytes:
    """Return `data` compressed: `codec` is gzip, zstd or None."""
    match codec:
        case "gzip":
            return gzip.compress(data, compresslevel=1, mtime=0)
        case "zstd":
            return zstandard.ZstdCompressor(level=1).compress(data)
        case None:
            return data
        case _:
            raise ValueError(codec)


def make_tar(flat: CacheFixture, path: Path, *, codec: str | None = None) -> Path:
    """Make a tar of the tree at `path`."""
    return _write(path, compress(tar_bytes(flat.files), codec))


def make_layout(
    flat: CacheFixture,
    folder: Path,
    *,
    codec: str | None = None,
    platforms: Sequence[str] = ("amd64",),
) -> Path:
    """Make an OCI layout whose one layer is a tar of the tree, an index entry per platform."""
    layer = compress(tar_bytes(flat.files), codec)
    media_type = LAYER_TYPE + (f"+{codec}" if codec else "")
    return make_layout_of(folder, layer, media_type=media_type, platforms=platforms)


def make_layout_of(
    folder: Path, layer: bytes, *, media_type: str, platforms: Sequence[str] = ("amd64",)
) -> Path:
    """Make an OCI layout of one image with the layer `layer`; no platforms: none is written."""
    config = dump({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}})
    manifest = image_manifest(config, [layer], layer_type=media_type)
    entries = [
        descriptor(MANIFEST_TYPE, manifest, platform=_platform(arch)) for arch in platforms
    ] or [descriptor(MANIFEST_TYPE, manifest)]
    for blob in (config, manifest, layer):
        _write(folder / "blobs" / "sha256" / sha256(blob), blob)
    _write(folder / "oci-layout", dump({"imageLayoutVersion": "1.0.0"}))
    _write(folder / "index.json", dump({"schemaVersion": 2, "manifests": entries}))
    return folder


def layout_blobs(layout: Path) -> dict[str, Path]:
    """Return the blobs of a layout of `make_layout`: `manifest`, `config` and `layer`."""
    blobs = layout / "blobs" / "sha256"
    entry = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    manifest = blobs / entry["digest"].partition(":")[2]
    document = json.loads(manifest.read_bytes())
    names = {"config": document["config"], "layer": document["layers"][0]}
    places = {name: blobs / item["digest"].partition(":")[2] for name, item in names.items()}
    return {"manifest": manifest, **places}


def flip(path: Path, offset: int | None = None) -> None:
    """Invert one byte of a file, by default the one in its middle; its holes stay.

    A negative offset counts from the end.
    """
    place = path.stat().st_size // 2 if offset is None else offset
    with path.open("r+b") as file:
        file.seek(place, os.SEEK_SET if place >= 0 else os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0xFF]))


def cut(path: Path, size: int | None = None) -> None:
    """Cut a file to `size` bytes, by default to half."""
    os.truncate(path, path.stat().st_size // 2 if size is None else size)
