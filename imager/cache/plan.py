"""Plan the files and sizes of a new image cache before any blob is fetched.

The manifests contain all sizes, so the layer's layout and the missing blobs are known in advance.
"""

from __future__ import annotations

import enum
import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imager.cache.archiving import ArchiveFormat, expected_archive
from imager.cache.blobstore import BlobStore
from imager.cache.contents import BlobSource, Gathered
from imager.cache.hardlinks import whole_file_in
from imager.cache.image import TIMESTAMP
from imager.cache.paths import blob_path, cache_tree
from imager.content.extents import Codec, Content
from imager.content.tar import plan_tar
from imager.content.tree import File, PlacedFile, Tree
from imager.oci.digest import Digest
from imager.oci.manifest import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from imager.oci.platform import Platform
from imager.support.errors import InputError


class LayerCompression(enum.Enum):
    """The compression of the cache's layer; blobs are already compressed, so `none` is best."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


LAYER_TYPES: Mapping[LayerCompression, tuple[str, Codec | None]] = {
    LayerCompression.NONE: (OCI_LAYER, None),
    LayerCompression.GZIP: (OCI_LAYER_GZIP, Codec.GZIP),
    LayerCompression.ZSTD: (OCI_LAYER_ZSTD, Codec.ZSTD),
}


class CacheLayout(enum.Enum):
    """The layout of a cache on disk: an OCI image layout or the bare tree."""

    OCI = "oci"
    FLAT = "flat"


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """Options for creating a cache; `jobs` is the number of parallel downloads.

    With `archive` the folder is written as a tar.
    """

    layout: CacheLayout = CacheLayout.OCI
    compression: LayerCompression = LayerCompression.NONE
    jobs: int = 4
    store: BlobStore | None = None
    archive: ArchiveFormat | None = None


@dataclass(frozen=True, slots=True)
class Packing:
    """The placement of a tree's files on disk; sizes in bytes.

    `content` is the single file that contains all others: the layer, or an archive whose layer
    begins at byte `head`. It is None for a flat folder. `places` are the locations of the files in
    `content` or as separate files. `size` is the uncompressed size of the result, `needed` the disk
    space required to create it.
    """

    places: Sequence[PlacedFile]
    content: Content | None
    head: int
    size: int
    needed: int


@dataclass(frozen=True, slots=True)
class CreationPlan:
    """The planned cache of `gathered` at `path`; `target` is `path` with links resolved.

    `tree` has all its files and folders. `remote` are the blobs that are not on this machine.
    """

    gathered: Gathered
    path: Path
    target: Path
    options: CreateOptions
    tree: Tree
    packing: Packing
    remote: Mapping[Digest, BlobSource]

    @property
    def key(self) -> str:
        """A hash that identifies this plan among others for the same target."""
        options = self.options
        kind = f"{options.layout.value} {options.compression.value} {options.archive}"
        lines = (f"{place.path} {place.offset} {place.length}\n" for place in self.packing.places)
        return hashlib.sha256(f"{kind}\n{''.join(lines)}".encode()).hexdigest()[:16]

    @property
    def missing(self) -> Mapping[Digest, BlobSource]:
        """The remote blobs that are not in the blob store, if there is one."""
        store = self.options.store
        if store is None:
            return self.remote
        return {
            digest: source for digest, source in self.remote.items() if not store.has(source.blob)
        }


def plan_creation(gathered: Gathered, path: Path, options: CreateOptions) -> CreationPlan:
    """Plan the cache of `gathered` at `path` without writing anything.

    Raises InputError for conflicting options, and as ImageSource.blob_content.
    """
    _check_options(options)
    target = real_folder(path)
    tree = _tree(gathered)
    return CreationPlan(
        gathered=gathered,
        path=path,
        target=target,
        options=options,
        tree=tree,
        packing=_pack(tree, target, options, gathered.index_platforms),
        remote={
            digest: source
            for digest, source in sorted(gathered.blobs.items())
            if source.source.blob_content(source.blob) is None
        },
    )


def _check_options(options: CreateOptions) -> None:
    if options.compression is LayerCompression.NONE:
        return
    if options.archive is not None:
        raise InputError(
            "the layer of a cache in a tar cannot be compressed",
            hint="omit --layer-compression; a file name that ends in "
            f"{ArchiveFormat.ZSTD.value} compresses the whole tar",
        )
    if options.layout is CacheLayout.FLAT:
        raise InputError("a flat cache has no layer to compress", hint="omit --layer-compression")


def _pack(
    tree: Tree,
    target: Path,
    options: CreateOptions,
    platforms: Collection[Platform],
) -> Packing:
    if options.layout is CacheLayout.FLAT and options.archive is None:
        places = tuple(PlacedFile(file.path, 0, file.content.size) for file in tree.files)
        there = sum(file.content.size for file in tree.files if whole_file_in(file.content, target))
        return Packing(places, None, 0, tree.size, tree.size - there)
    plan = plan_tar(tree, timestamp=TIMESTAMP)
    content, head, size = plan.content, 0, plan.content.size
    if options.archive is not None and options.layout is CacheLayout.OCI:
        archive = expected_archive(platforms, content)
        head, size = archive.files[0].offset, archive.content.size
        content = Content.compose(head + content.size, [(head, content)])
    packed = options.compression is not LayerCompression.NONE or (
        options.archive is not None and options.archive.codec is not None
    )
    # The plain file and the compressed one exist at the same time.
    needed = 2 * size if packed else size
    moved = (replace(place, offset=place.offset + head) for place in plan.files)
    return Packing(tuple(moved), content, head, size, needed)


def real_folder(path: Path) -> Path:
    """Resolve the links of `path`, so that the target is replaced and not the link."""
    return Path(os.path.realpath(path))


def _tree(gathered: Gathered) -> Tree:
    files = {path: Content.of_bytes(raw) for path, raw in gathered.manifests.items()}
    for digest, source in gathered.blobs.items():
        local = source.source.blob_content(source.blob)
        files[blob_path(digest)] = Content(source.blob.size) if local is None else local
    return cache_tree(File(path, content) for path, content in sorted(files.items()))
