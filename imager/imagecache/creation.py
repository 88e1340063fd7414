"""What a new image cache will be, before a blob is fetched: its files, and all sizes.

The sizes are in the manifests, so the layer is laid out, and what is missing is known, at once.
"""

from __future__ import annotations

import enum
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from imager.errors import InputError
from imager.extents import Codec, Content
from imager.filetree import PlacedFile, TreeFile
from imager.imagecache.contents import BlobSource, Gathered
from imager.imagecache.image import TIMESTAMP
from imager.imagecache.layercache import LayerCache
from imager.imagecache.relink import whole_file_in
from imager.imagecache.tree import blob_path
from imager.oci.digest import Digest
from imager.oci.manifest import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from imager.tarball import plan_tar


class LayerCompression(enum.Enum):
    """How the cache's layer is compressed; blobs are compressed already, so none is best."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


LAYER_TYPES: Mapping[LayerCompression, tuple[str, Codec | None]] = {
    LayerCompression.NONE: (OCI_LAYER, None),
    LayerCompression.GZIP: (OCI_LAYER_GZIP, Codec.GZIP),
    LayerCompression.ZSTD: (OCI_LAYER_ZSTD, Codec.ZSTD),
}


class CacheLayout(enum.Enum):
    """What a cache is on disk: an OCI image layout, or the bare tree."""

    OCI = "oci"
    FLAT = "flat"


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """How to make a cache; `jobs` is how many blobs are fetched at a time."""

    layout: CacheLayout = CacheLayout.OCI
    compression: LayerCompression = LayerCompression.NONE
    jobs: int = 4
    layer_cache: LayerCache | None = None

    @classmethod
    def parse(
        cls, *, layout: str, compression: str, jobs: int, layer_cache: Path | None = None
    ) -> CreateOptions:
        """Return the options as they are written.

        Raises InputError for unknown ones, HostError for a layer cache that cannot be used.
        """
        return cls(
            _named(CacheLayout, layout, what="cache layout"),
            _named(LayerCompression, compression, what="layer compression"),
            jobs,
            None if layer_cache is None else LayerCache.open(layer_cache),
        )


_Named = TypeVar("_Named", bound=enum.Enum)


def _named(kind: type[_Named], text: str, *, what: str) -> _Named:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(each.value for each in kind)
        raise InputError(f"{text!r} is not a {what}", hint=f"use one of: {known}") from None


@dataclass(frozen=True, slots=True)
class CreationPlan:
    """The cache of `gathered` in the folder `target`, links resolved.

    `files` are those of its tree and `places` where they come: in the layer, or in files of their
    own. `content` is the layer before it is compressed, None for a flat cache. `remote` are the
    blobs that are not on this machine. `size` is that of the layer or of all files, and `needed`
    the space for making them, in bytes.
    """

    gathered: Gathered
    target: Path
    options: CreateOptions
    files: Sequence[TreeFile]
    places: Sequence[PlacedFile]
    content: Content | None
    remote: Mapping[Digest, BlobSource]
    size: int
    needed: int

    @property
    def key(self) -> str:
        """What tells this plan from others for the same target."""
        kind = f"{self.options.layout.value} {self.options.compression.value}"
        lines = (f"{place.path} {place.offset} {place.length}\n" for place in self.places)
        return hashlib.sha256(f"{kind}\n{''.join(lines)}".encode()).hexdigest()[:16]

    @property
    def missing(self) -> Mapping[Digest, BlobSource]:
        """The remote blobs that are not in the layer cache either."""
        cache = self.options.layer_cache
        if cache is None:
            return self.remote
        return {
            digest: source for digest, source in self.remote.items() if not cache.has(source.blob)
        }


def plan_creation(gathered: Gathered, path: Path, options: CreateOptions) -> CreationPlan:
    """Return the plan of the cache of `gathered` in the folder `path`; nothing is written.

    Raises InputError for options that do not go together, and as ImageSource.blob_content.
    """
    target = real_folder(path)
    files = _tree(gathered)
    content, size = None, sum(file.content.size for file in files)
    if options.layout is CacheLayout.FLAT:
        if options.compression is not LayerCompression.NONE:
            raise InputError("a flat cache has no layer that could be compressed")
        places = tuple(PlacedFile(file.path, 0, file.content.size) for file in files)
        needed = sum(each.content.size for each in files if not whole_file_in(each.content, target))
    else:
        plan = plan_tar(files, timestamp=TIMESTAMP)
        content, places, size = plan.content, plan.files, plan.content.size
        # A compressed layer is written beside the plain one.
        needed = size if options.compression is LayerCompression.NONE else 2 * size
    return CreationPlan(
        gathered=gathered,
        target=target,
        options=options,
        files=files,
        places=places,
        content=content,
        remote={
            digest: source
            for digest, source in sorted(gathered.blobs.items())
            if source.source.blob_content(source.blob) is None
        },
        size=size,
        needed=needed,
    )


def real_folder(path: Path) -> Path:
    """Return the folder that `path` leads to: a link stays, and what it leads to is replaced."""
    return Path(os.path.realpath(path))


def _tree(gathered: Gathered) -> Sequence[TreeFile]:
    files = {path: Content.of_bytes(raw) for path, raw in gathered.manifests.items()}
    for digest, source in gathered.blobs.items():
        local = source.source.blob_content(source.blob)
        files[blob_path(digest)] = Content(source.blob.size) if local is None else local
    return [TreeFile(path, content) for path, content in sorted(files.items())]
