"""A cache of an image that runs: Debian's static busybox, made from FORMATS alone."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.lib.caches.caches import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    compress,
    descriptor,
    dump,
    sha256,
)

BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True, slots=True)
class RunnableImage:
    """An image that prints `says` and ends with the exit code `exits`."""

    registry: str
    repository: str
    tag: str
    says: str
    exits: int = 0
    arch: str = "amd64"

    @property
    def reference(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


def add_runnable(folder: Path, image: RunnableImage, *, program: Path = BUSYBOX) -> None:
    """Put `image`, run by the static busybox `program`, into the cache `folder`, a flat tree."""
    layer = _layer(program)
    config = dump(
        {
            "architecture": image.arch,
            "os": "linux",
            "config": {"Cmd": ["/busybox", "sh", "-c", f"echo '{image.says}'; exit {image.exits}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}"]},
        }
    )
    packed = compress(layer, "gzip")
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [descriptor(f"{LAYER_TYPE}+gzip", packed)],
        }
    )
    place = folder / "manifests" / image.registry / image.repository
    for path, data in {
        folder / "blob" / f"sha256-{sha256(config)}": config,
        folder / "blob" / f"sha256-{sha256(packed)}": packed,
        place / "digest" / f"sha256-{sha256(manifest)}": manifest,
        place / "reference" / image.tag: manifest,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _layer(program: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("busybox")
        info.size, info.mode = program.stat().st_size, 0o755
        with program.open("rb") as file:
            tar.addfile(info, file)
    return buffer.getvalue()
