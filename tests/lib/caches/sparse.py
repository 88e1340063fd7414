"""An image cache with one huge blob that takes no space: for sizes, not for digests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.lib.caches.caches import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    image_index,
    sha256,
)

GIB = 1 << 30
BLOB = "blob/sha256-" + "a" * 64
_BASE = "manifests/registry.local/huge"


def mark(offset: int) -> bytes:
    """Return the nine bytes that stand at `offset` of the blob."""
    return b"MARK %04d" % (offset % 9973)


def make_sparse_flat(folder: Path, *, size: int, marks: Sequence[int] = ()) -> Path:
    """Make a flat tree of one image whose layer is a sparse file; its digest is made up.

    At the offsets `marks` of the layer stands `mark(offset)`, all else is zeros.
    """
    config = dump({"architecture": "amd64", "os": "linux"})
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [{"mediaType": LAYER_TYPE, "digest": f"sha256:{'a' * 64}", "size": size}],
        }
    )
    entry = descriptor(MANIFEST_TYPE, manifest, platform={"os": "linux", "architecture": "amd64"})
    index = image_index([entry])
    files = {
        f"blob/sha256-{sha256(config)}": config,
        f"{_BASE}/digest/sha256-{sha256(manifest)}": manifest,
        f"{_BASE}/digest/sha256-{sha256(index)}": index,
        f"{_BASE}/reference/v1": index,
        BLOB: b"",
    }
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    with (folder / BLOB).open("r+b") as file:
        file.truncate(size)
        for offset in marks:
            file.seek(offset)
            file.write(mark(offset))
    return folder
