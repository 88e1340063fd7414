"""Container images for tests, layer by layer, by the OCI image specification alone."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lib.caches.caches import (
    LAYER_TYPE,
    MANIFEST_TYPE,
    compress,
    descriptor,
    dump,
    image_index,
    image_manifest,
    sha256,
)
from tests.lib.registries.store import Repository

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a layer that is not a regular file: a tar type, a link's target, a device."""

    kind: bytes
    target: str = ""


def link(target: str) -> Member:
    return Member(tarfile.SYMTYPE, target)


def hard(target: str) -> Member:
    return Member(tarfile.LNKTYPE, target)


FOLDER = Member(tarfile.DIRTYPE)
Files = Mapping[str, bytes | Member] | Sequence[tuple[str, bytes | Member]]


def layer(files: Files, *, codec: str | None = None) -> bytes:
    """Return a layer with `files` in their order, and no folders but those given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in files.items() if isinstance(files, Mapping) else files:
            info = tarfile.TarInfo(name)
            if isinstance(what, Member):
                info.type, info.linkname = what.kind, what.target
                info.devmajor, info.devminor = 1, 3
                tar.addfile(info)
            else:
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
    return compress(buffer.getvalue(), codec) if codec else buffer.getvalue()


@dataclass(frozen=True, slots=True)
class MadeImage:
    """An image: its configuration and its layers, base first; `codecs` are their compressions."""

    config: bytes
    layers: tuple[bytes, ...]
    manifest: bytes

    @classmethod
    def of(
        cls,
        layers: Sequence[Files],
        *,
        codecs: Sequence[str | None] = (),
        arch: str = "amd64",
        labels: Mapping[str, str] | None = None,
    ) -> MadeImage:
        codecs = codecs or [None] * len(layers)
        plain = [layer(files) for files in layers]
        packed = [layer(each, codec=codec) for each, codec in zip(layers, codecs, strict=True)]
        config = dump(
            {
                "architecture": arch,
                "os": "linux",
                "config": {"Labels": labels},
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [f"sha256:{sha256(each)}" for each in plain],
                },
            }
        )
        kinds = [f"{LAYER_TYPE}+{codec}" if codec else LAYER_TYPE for codec in codecs]
        described = [descriptor(kind, each) for kind, each in zip(kinds, packed, strict=True)]
        return cls(config, tuple(packed), image_manifest(config, [], layers=described))

    @property
    def blobs(self) -> tuple[bytes, ...]:
        return (self.config, *self.layers)

    def entry(self, arch: str = "amd64") -> dict[str, object]:
        """Return the entry of an index."""
        return descriptor(
            MANIFEST_TYPE, self.manifest, platform={"os": "linux", "architecture": arch}
        )

    def add_to(self, repository: Repository, *, tag: str = "") -> str:
        """Put the image into a repository; return its digest."""
        for blob in self.blobs:
            repository.add_blob(blob)
        return repository.add_manifest(self.manifest, MANIFEST_TYPE, tag=tag)

    def write_layout(self, folder: Path, *, tag: str = "v1") -> Path:
        """Write an OCI layout in which the image is called `tag`, or add the image to one."""
        blobs, index = folder / "blobs/sha256", folder / "index.json"
        blobs.mkdir(parents=True, exist_ok=True)
        others = json.loads(index.read_bytes())["manifests"] if index.exists() else []
        for blob in (*self.blobs, self.manifest):
            (blobs / sha256(blob)).write_bytes(blob)
        note = {"org.opencontainers.image.ref.name": tag}
        entry = descriptor(MANIFEST_TYPE, self.manifest, annotations=note)
        (folder / "oci-layout").write_bytes(dump({"imageLayoutVersion": "1.0.0"}))
        index.write_bytes(image_index([*others, entry]))
        return folder


def add_index(repository: Repository, images: Mapping[str, MadeImage], *, tag: str) -> str:
    """Put an index of images by architecture into a repository; return its digest."""
    for image in images.values():
        image.add_to(repository)
    index = image_index([image.entry(arch) for arch, image in images.items()])
    return repository.add_manifest(index, INDEX_TYPE, tag=tag)
