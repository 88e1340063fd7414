"""Making an image cache: an OCI layout with one layer, a tar of the cache's tree, or the tree.

All sizes are known from the manifests, so the layer is planned before a blob is fetched: local
blobs are copied to their places in it, remote ones are written there as they arrive.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imager.copier import write_content
from imager.errors import InputError
from imager.extents import Content
from imager.filetree import TreeFile
from imager.flusher import flushing
from imager.imagecache.compress import compress_file
from imager.imagecache.construction import Construction, forget_journal
from imager.imagecache.contents import Gathered
from imager.imagecache.creation import (
    LAYER_TYPES,
    CreateOptions,
    CreationPlan,
    plan_creation,
    real_folder,
)
from imager.imagecache.image import cache_image
from imager.imagecache.relink import drop_links, try_link, whole_file_in
from imager.meter import Kept
from imager.oci.digest import Digest
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, oci_layout_json
from imager.oci.layout import blob_path as layout_blob_path
from imager.oci.manifest import (
    Descriptor,
    index_json,
)
from imager.reporter import Advance, Reporter
from imager.workspace import check_output_folder


@dataclass(frozen=True, slots=True)
class Created:
    """A finished cache: the layer that it is, unless it is flat, and the bytes of its blobs."""

    layer: Descriptor | None
    blob_size: int


def check_creatable(path: Path, *, force: bool) -> None:
    """Raise InputError unless a cache may be made at `path`, HostError without the permission."""
    if path.exists() and not force:
        raise InputError(f"{path} exists already", hint="replace it with --force")
    if path.exists() and (not path.is_dir() or not _is_cache(path)):
        raise InputError(
            f"{path} is not an image cache, so --force does not replace it",
            hint="remove it, or choose another path",
        )
    check_output_folder(real_folder(path).parent)


def _is_cache(path: Path) -> bool:
    marks = (path / LAYOUT_FILE, path / "manifests")
    return any(mark.exists() for mark in marks) or not any(path.iterdir())


def create_cache(
    gathered: Gathered, path: Path, *, options: CreateOptions, reporter: Reporter
) -> Created:
    """Write the cache of `gathered` to the folder `path`, atomically, replacing one there.

    Raises as `plan_creation` and `write_cache`.
    """
    return write_cache(plan_creation(gathered, path, options), reporter=reporter)


def write_cache(plan: CreationPlan, *, reporter: Reporter) -> Created:
    """Write what was planned, atomically.

    The same images give the same bytes. What has come when the run ends too early is kept beside
    the target, and the next run with the same plan goes on from there. Raises InputError for a
    local blob that is not what its digest says, DependencyError when a registry fails, HostError
    for a lack of space.
    """
    made = Construction(plan, reporter)
    layer = None
    with made.folder() as folder:
        if plan.content is None:
            _write_tree(made, folder)
        else:
            layer = _write_layer(made, plan.content, folder)
            _write_documents(plan.gathered, layer, folder)
    blob_size = sum(source.blob.size for source in plan.gathered.blobs.values())
    return Created(layer.descriptor if layer else None, blob_size)


def _write_tree(made: Construction, folder: Path) -> None:
    plan = made.plan
    # An earlier run's: what is written to them would be written to the old cache.
    drop_links(folder)
    places = {place.path: (folder / place.path, 0) for place in plan.places}
    size = sum(file.content.data_size for file in plan.files)
    with (
        flushing() as flusher,
        made.transferring(folder, places, local_size=size, flusher=flusher) as progress,
    ):
        for file in plan.files:
            _place_file(file, folder, plan.target, progress)
    forget_journal(folder)


def _place_file(file: TreeFile, folder: Path, replaced: Path, progress: Advance) -> None:
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    old = whole_file_in(file.content, replaced)
    if old is not None and try_link(old, path):
        progress(Kept(file.content.size))
        return
    with _opened(path) as out:
        write_content(file.content, out, progress=progress)


@dataclass(frozen=True, slots=True)
class _Layer:
    descriptor: Descriptor
    diff_id: Digest


def _write_layer(made: Construction, content: Content, folder: Path) -> _Layer:
    media_type, codec = LAYER_TYPES[made.plan.options.compression]
    plain, packed = folder / "layer.tar", folder / "layer.packed"
    places = {place.path: (plain, place.offset) for place in made.plan.places}
    size = content.data_size
    with flushing() as flusher, _opened(plain) as out:
        with made.transferring(folder, places, local_size=size, flusher=flusher) as progress:
            write_content(content, out, progress=progress)
        flusher.flush(out)
        with made.reporter.waiting("hashing the layer"):
            diff_id = digest = _file_digest(plain)
    if codec is not None:
        packed.unlink(missing_ok=True)
        with made.reporter.waiting(f"compressing the layer with {codec.value}"):
            compress_file(plain, packed, codec=codec)
            digest = _file_digest(packed)
    forget_journal(folder)
    finished = folder / layout_blob_path(digest)
    finished.parent.mkdir(parents=True, exist_ok=True)
    (plain if codec is None else packed).rename(finished)
    plain.unlink(missing_ok=True)
    return _Layer(Descriptor(media_type, digest, finished.stat().st_size), diff_id)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Yield a descriptor of `path`, which is made unless an earlier run has made it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _file_digest(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def _write_documents(gathered: Gathered, layer: _Layer, folder: Path) -> None:
    image = cache_image(gathered.index_platforms, layer.descriptor, diff_id=layer.diff_id)
    documents = {
        layout_blob_path(Digest.of(image.config)): image.config,
        layout_blob_path(Digest.of(image.manifest)): image.manifest,
        INDEX_FILE: index_json(image.entries),
        LAYOUT_FILE: oci_layout_json(),
    }
    for name, data in documents.items():
        (folder / name).write_bytes(data)
