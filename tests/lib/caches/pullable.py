"""A cache of images that a container engine can unpack, made from FORMATS alone.

Layers are tars of one file, plain or compressed, and configurations name their digests.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lib.caches.caches import (
    CONFIG_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    compress,
    descriptor,
    dump,
    sha256,
    tar_bytes,
)

DOCKER = "application/vnd.docker"
DOCKER_MANIFEST_TYPE = f"{DOCKER}.distribution.manifest.v2+json"
DOCKER_INDEX_TYPE = f"{DOCKER}.distribution.manifest.list.v2+json"
DOCKER_CONFIG_TYPE = f"{DOCKER}.container.image.v1+json"
DOCKER_LAYER_TYPE = f"{DOCKER}.image.rootfs.diff.tar.gzip"
ARCH = "amd64"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of one platform, and its configuration and layers."""

    kind: str
    arch: str
    data: bytes
    blobs: tuple[bytes, ...]

    @property
    def config_digest(self) -> str:
        return f"sha256:{sha256(self.blobs[0])}"


@dataclass(frozen=True, slots=True)
class PullableImage:
    """An image: `index` is b"" for one of a single platform; `tag` "" is pulled by digest alone.

    `manifests` are those in the cache; the first is of amd64.
    """

    registry: str
    repository: str
    tag: str
    index: bytes
    index_kind: str
    manifests: tuple[Manifest, ...]

    @property
    def root(self) -> bytes:
        return self.index or self.manifests[0].data

    @property
    def digest(self) -> str:
        return f"sha256:{sha256(self.root)}"

    @property
    def by_digest(self) -> str:
        return f"{self.registry}/{self.repository}@{self.digest}"

    @property
    def references(self) -> tuple[str, ...]:
        """The image by its tag, if it has one, and by its digest."""
        tagged = f"{self.registry}/{self.repository}:{self.tag}"
        return (tagged, self.by_digest) if self.tag else (self.by_digest,)

    @property
    def contents(self) -> dict[str, bytes]:
        """What is pulled for amd64, by its digest."""
        first = self.manifests[0]
        return by_digest(self.root, first.data, *first.blobs)


@dataclass(frozen=True, slots=True)
class PullableCache:
    """A flat tree of `images`."""

    folder: Path
    images: tuple[PullableImage, ...]

    @property
    def registries(self) -> tuple[str, ...]:
        return tuple(sorted({image.registry for image in self.images}))


def by_digest(*contents: bytes) -> dict[str, bytes]:
    return {f"sha256:{sha256(data)}": data for data in contents}


def make_pullable(folder: Path) -> PullableCache:
    """Make a cache of images of four registries, in OCI's formats and in Docker's."""
    oci, docker, pause = (
        _index("docker.io", "library/alpine", "3.20", arches=(ARCH, "arm64")),
        _index("ghcr.io", "siderolabs/kubelet", "v1.32.0", docker=True, arches=(ARCH, "s390x")),
        _single("registry.k8s.io", "pause", "3.10", docker=True),
    )
    partial = _index("registry.local:5000", "team/partial", "v1", absent=("arm64",))
    odd = _single("registry.local:5000", "team/deep/er/app", "_Odd.tag-1", codecs=("zstd", None))
    untagged = _single("registry.local:5000", "team/untagged", "")
    images = (oci, docker, pause, partial, odd, untagged)
    for image in images:
        _store(folder, image)
    return PullableCache(folder, images)


def _store(folder: Path, image: PullableImage) -> None:
    host, colon, port = image.registry.partition(":")
    place = folder / "manifests" / (f"{host}_{port}_" if colon else host) / image.repository
    files = {place / "reference" / image.tag: image.root} if image.tag else {}
    for manifest in (image.root, *(each.data for each in image.manifests)):
        files[place / "digest" / f"sha256-{sha256(manifest)}"] = manifest
    for blob in (blob for each in image.manifests for blob in each.blobs):
        files[folder / "blob" / f"sha256-{sha256(blob)}"] = blob
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _single(
    registry: str,
    repository: str,
    tag: str,
    *,
    docker: bool = False,
    codecs: Sequence[str | None] = ("gzip", "gzip"),
) -> PullableImage:
    manifest = _manifest(repository, ARCH, docker=docker, codecs=codecs)
    return PullableImage(registry, repository, tag, b"", "", (manifest,))


def _index(
    registry: str,
    repository: str,
    tag: str,
    *,
    docker: bool = False,
    arches: Sequence[str] = (ARCH,),
    absent: Sequence[str] = (),
) -> PullableImage:
    """Return an image of several platforms, those of `absent` named but not in the cache."""
    manifests = [_manifest(repository, arch, docker=docker) for arch in (*arches, *absent)]
    entries = [
        descriptor(each.kind, each.data, platform={"architecture": each.arch, "os": "linux"})
        for each in manifests
    ]
    kind = DOCKER_INDEX_TYPE if docker else INDEX_TYPE
    # In an order that a program would not write: the bytes must be kept as they are.
    index = dump({"manifests": entries, "mediaType": kind, "schemaVersion": 2}) + b"\n"
    kept = tuple(manifests[: len(arches)])
    return PullableImage(registry, repository, tag, index, kind, kept)


def _manifest(
    repository: str,
    arch: str,
    *,
    docker: bool = False,
    codecs: Sequence[str | None] = ("gzip", "gzip"),
) -> Manifest:
    tars = [
        tar_bytes({f"files/{number}": random.Random(f"{repository} {arch} {number}").randbytes(
            150_000 + number
        )})
        for number in range(len(codecs))
    ]  # fmt: skip
    config = dump(
        {
            "architecture": arch,
            "os": "linux",
            "config": {"Cmd": ["/files/0"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(tar)}" for tar in tars]},
            "history": [{"created_by": repository} for _ in tars],
        }
    )
    kind = DOCKER_MANIFEST_TYPE if docker else MANIFEST_TYPE
    layers = [compress(tar, codec) for tar, codec in zip(tars, codecs, strict=True)]
    layer_kinds = [
        DOCKER_LAYER_TYPE if docker else LAYER_TYPE + (f"+{codec}" if codec else "")
        for codec in codecs
    ]
    data = dump(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": descriptor(DOCKER_CONFIG_TYPE if docker else CONFIG_TYPE, config),
            "layers": [
                descriptor(layer_kind, layer)
                for layer_kind, layer in zip(layer_kinds, layers, strict=True)
            ],
        }
    )
    return Manifest(kind, arch, data, (config, *layers))
