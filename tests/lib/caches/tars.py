"""Tars of caches in every form in which people make them, by Python's tarfile alone."""

from __future__ import annotations

from pathlib import Path

from tests.lib.caches.caches import CacheFixture, compress, make_layout, tar_bytes, tree_files

PREFIXES = ("", "./", "image-cache.oci/", "./cache/")


def make_archive(
    flat: CacheFixture,
    path: Path,
    *,
    layout: bool,
    prefix: str = "",
    codec: str | None = None,
    layer: str | None = None,
) -> Path:
    """Make a tar of the tree, or of an OCI layout of it whose layer is compressed by `layer`."""
    files = flat.files
    if layout:
        files = tree_files(make_layout(flat, path.parent / f"{path.name}.layout", codec=layer))
    data = tar_bytes({f"{prefix}{name}": data for name, data in files.items()})
    path.write_bytes(compress(data, codec))
    return path
