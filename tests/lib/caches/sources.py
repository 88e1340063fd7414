"""One image cache in every form in which it can be opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imager.cache.cache import ImageCache
from imager.cache.cache_source import gather_held
from imager.cache.contents import Gathered
from imager.cache.images import cached_images
from imager.cache.open import open_cache
from imager.content.digests import run_checks
from imager.content.extents import Content
from imager.content.reading import iterate_content
from imager.oci.reference import Reference
from imager.support.arch import AMD64
from imager.support.errors import InputError
from tests.lib.caches.caches import (
    REGISTRY,
    REGISTRY_FOLDER,
    CacheFixture,
    make_layout,
    make_tar,
)
from tests.lib.caches.tars import make_archive

Make = Callable[[CacheFixture, Path], Path]


def _flat(cache: CacheFixture, _: Path) -> Path:
    return cache.folder


def _tar(codec: str | None) -> Make:
    return lambda cache, folder: make_tar(cache, folder / "cache.tar", codec=codec)


def _layout(codec: str | None) -> Make:
    return lambda cache, folder: make_layout(cache, folder / "layout", codec=codec)


def _archive(codec: str | None, layer: str | None) -> Make:
    return lambda cache, folder: make_archive(
        cache, folder / "archive.tar", layout=True, prefix="cache/", codec=codec, layer=layer
    )


SOURCES: dict[str, Make] = {
    "flat": _flat,
    "tar": _tar(None),
    "tar.gz": _tar("gzip"),
    "tar.zst": _tar("zstd"),
    "layout": _layout(None),
    "layout-gzip": _layout("gzip"),
    "layout-zstd": _layout("zstd"),
    "archive": _archive(None, None),
    "archive.gz": _archive("gzip", None),
    "archive-zstd": _archive(None, "zstd"),
    "archive.gz-gzip": _archive("gzip", "gzip"),
    "archive.zst-zstd": _archive("zstd", "zstd"),
}
EVERY_SOURCE = pytest.mark.parametrize("source", SOURCES)
PLAIN_SOURCES = pytest.mark.parametrize("source", ["flat", "tar", "layout", "archive"])


def read(content: Content) -> bytes:
    pieces = iterate_content(content)
    return b"".join(bytes(piece) if isinstance(piece, int) else piece for piece in pieces)


def opened(path: Path) -> ImageCache:
    """Open the cache as a build does: with all that must be checked beside the copy."""
    cache = open_cache(path, arch=AMD64).cache
    run_checks(cache.checks)
    return cache


def gathered(path: Path) -> Gathered:
    """Return all images of a cache, gathered to be written anew."""
    cache = open_cache(path).cache
    return gather_held(cache, cached_images(cache))


def named(*numbers: int) -> tuple[Reference, ...]:
    """Return the references of images of `make_flat`."""
    return tuple(Reference.parse(f"{REGISTRY}/team/img{number}:v1") for number in numbers)


def refusal(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        opened(path)
    return caught.value


def manifests_of(cache: CacheFixture, number: int = 0) -> tuple[Path, dict[str, Any]]:
    """Return the folder of an image's manifests, and its index."""
    base = cache.folder / "manifests" / REGISTRY_FOLDER / "team" / f"img{number}"
    return base, json.loads((base / "reference" / "v1").read_bytes())
