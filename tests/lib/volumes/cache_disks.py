"""Disks with FAT, XFS and ext4, as a build makes them."""

from __future__ import annotations

from pathlib import Path

from tests.lib.caches.caches import CacheFixture, make_layout
from tests.lib.tools.cli import build, real_assets


def disk_with_cache(folder: Path, cache: CacheFixture) -> Path:
    """Build a raw disk with the cache, and return its path in `folder`."""
    layout = make_layout(cache, folder / "layout")
    common = ("--assets", real_assets(), "--image-cache", layout, "--output", folder)
    build("metal", *common, "--out-format", "raw")
    return folder / "metal-amd64.raw"
