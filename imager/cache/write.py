"""Write an image cache as an OCI layout with one layer, as the bare tree, or as a tar of either.

The manifests contain all sizes, so the layer is planned before any blob is fetched. Local blobs are
copied to their offsets in it, and remote ones are downloaded directly to theirs. Archives work the
same way. Only compression writes data a second time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imager.cache.archiving import ArchiveFormat, plan_archive
from imager.cache.compress import compress_file
from imager.cache.contents import Gathered
from imager.cache.errors import NotAnImageCacheError
from imager.cache.hardlinks import drop_links, try_link, whole_file_in
from imager.cache.image import cache_image, layout_tree
from imager.cache.plan import (
    LAYER_TYPES,
    CacheLayout,
    CreateOptions,
    CreationPlan,
    plan_creation,
    real_folder,
)
from imager.cache.staging import Construction, forget_journal
from imager.content.copier import write_content
from imager.content.extents import Codec, Content
from imager.content.reading import read_content
from imager.content.tar import first_names
from imager.content.tar_source import TarPlace
from imager.content.tree import File
from imager.content.writeback import flushing
from imager.oci.digest import Digest
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE
from imager.oci.layout import blob_path as layout_blob_path
from imager.oci.manifest import OCI_LAYER, Descriptor
from imager.support.descriptors import MADE, opened
from imager.support.errors import AlreadyExistsError
from imager.support.folders import check_output_folder
from imager.support.meter import Kept
from imager.support.reporter import Advance, Reporter

# How many of the first members of an archive to check for the names of a cache.
_LOOKED_AT = 4
_MARKS = frozenset({"blob", "blobs", "manifests", LAYOUT_FILE, INDEX_FILE})


@dataclass(frozen=True, slots=True)
class Created:
    """A finished cache and its layer, if it has one."""

    layer: Descriptor | None


def check_creatable(path: Path, *, force: bool, archive: ArchiveFormat | None = None) -> None:
    """Check that a cache can be created at `path`: a file with `archive`, else a folder.

    Raises InputError if `path` exists and may not be replaced, HostError without write permission.
    """
    if path.exists() and not force:
        raise AlreadyExistsError(f"{path} exists already", hint="use --force to replace it")
    if path.is_dir() and archive is not None:
        raise NotAnImageCacheError(
            f"{path} is a folder, but a path that ends in {archive.value} must be a file",
            hint="remove it, or choose another path",
        )
    if path.exists() and not (_is_cache_folder(path) if archive is None else _is_archive(path)):
        raise NotAnImageCacheError(
            f"{path} is not an image cache, so --force does not replace it",
            hint="remove it, or choose another path",
        )
    check_output_folder(real_folder(path).parent)


def _is_cache_folder(path: Path) -> bool:
    marks = (path / LAYOUT_FILE, path / "manifests")
    return path.is_dir() and (any(mark.exists() for mark in marks) or not any(path.iterdir()))


def _is_archive(path: Path) -> bool:
    """Whether the file `path` begins like an archive of a cache, even a damaged one."""
    if not path.is_file():
        return False
    names = first_names(TarPlace.of_file(path), _LOOKED_AT)
    return any(_MARKS.intersection(name.removeprefix("./").split("/")[:2]) for name in names)


def write_gathered(
    gathered: Gathered, path: Path, *, options: CreateOptions, reporter: Reporter
) -> Created:
    """Write the cache of `gathered` to `path` atomically, replacing an existing one.

    Raises as `plan_creation` and `write_cache`.
    """
    return write_cache(plan_creation(gathered, path, options), reporter=reporter)


def write_cache(plan: CreationPlan, *, reporter: Reporter) -> Created:
    """Write a planned cache atomically.

    The same images give the same bytes. The downloads of an interrupted run are kept next to the
    target, and the next run with the same plan resumes them. Raises InputError for a local blob
    that does not match its digest, DependencyError if a registry fails, HostError if the disk is
    too full.
    """
    made = Construction(plan, reporter)
    with made.folder() as folder:
        if plan.packing.content is None:
            _write_tree(made, folder)
            return Created(None)
        if plan.options.archive is not None:
            return _write_archive(made, plan.packing.content, plan.options.archive, folder)
        return _write_layout(made, plan.packing.content, folder)


def _write_tree(made: Construction, folder: Path) -> None:
    plan = made.plan
    # Links of an interrupted run: writing to them would change the old cache.
    drop_links(folder)
    for name in plan.tree.folders:
        (folder / name).mkdir(exist_ok=True)
    places = {place.path: (folder / place.path, 0) for place in plan.packing.places}
    size = sum(file.content.data_size for file in plan.tree.files)
    with (
        flushing() as flusher,
        made.transferring(folder, places, local_size=size, flusher=flusher) as progress,
    ):
        for file in plan.tree.files:
            _place_file(file, folder, plan.target, progress)
    forget_journal(folder)


def _place_file(file: File, folder: Path, replaced: Path, progress: Advance) -> None:
    path = folder / file.path
    old = whole_file_in(file.content, replaced)
    if old is not None and try_link(old, path):
        progress(Kept(file.content.size))
        return
    with opened(path, MADE) as out:
        write_content(file.content, out, progress=progress)


def _write_layout(made: Construction, content: Content, folder: Path) -> Created:
    media_type, codec = LAYER_TYPES[made.plan.options.compression]
    plain, packed = folder / "layer.tar", folder / "layer.packed"
    with _written(made, content, plain, folder):
        diff_id = digest = _layer_digest(made, plain)
    if codec is not None:
        _compress(made, plain, packed, codec)
        digest = _file_digest(packed)
    forget_journal(folder)
    finished = folder / layout_blob_path(digest)
    finished.parent.mkdir(parents=True, exist_ok=True)
    (plain if codec is None else packed).rename(finished)
    plain.unlink(missing_ok=True)
    layer = Descriptor(media_type, digest, finished.stat().st_size)
    image = cache_image(made.plan.gathered.index_platforms, layer, diff_id=diff_id)
    for file in layout_tree(image, File(layout_blob_path(digest), Content(layer.size))).files[1:]:
        (folder / file.path).write_bytes(read_content(file.content))
    return Created(layer)


def _write_archive(
    made: Construction, content: Content, archive: ArchiveFormat, folder: Path
) -> Created:
    plan, finished = made.plan, folder / made.plan.target.name
    plain = finished if archive.codec is None else folder / "archive.tar"
    layer = None
    with _written(made, content, plain, folder) as out:
        if plan.options.layout is CacheLayout.OCI:
            digest = _layer_digest(made, plain)
            layer = Descriptor(OCI_LAYER, digest, content.size - plan.packing.head)
            image = cache_image(plan.gathered.index_platforms, layer, diff_id=digest)
            _write_around(plan_archive(image, layer, Content(layer.size)).content, out)
    if archive.codec is not None:
        _compress(made, plain, finished, archive.codec)
    return Created(layer)


def _write_around(archive: Content, out: int) -> None:
    """Write the members of an archive other than its layer, which is a hole in `archive`."""
    for extent in archive.extents:
        os.pwrite(out, read_content(archive.slice(extent.offset, extent.length)), extent.offset)
    os.ftruncate(out, archive.size)


@contextmanager
def _written(made: Construction, content: Content, path: Path, folder: Path) -> Iterator[int]:
    """Write the file that contains all blobs; yield its descriptor during write-back."""
    places = {place.path: (path, place.offset) for place in made.plan.packing.places}
    with flushing() as flusher, opened(path, MADE) as out:
        size = content.data_size
        with made.transferring(folder, places, local_size=size, flusher=flusher) as progress:
            write_content(content, out, progress=progress)
        flusher.flush(out)
        yield out


def _layer_digest(made: Construction, path: Path) -> Digest:
    with made.reporter.waiting("hashing the layer"):
        return _file_digest(path, start=made.plan.packing.head)


def _compress(made: Construction, plain: Path, packed: Path, codec: Codec) -> None:
    packed.unlink(missing_ok=True)
    with made.reporter.waiting(f"compressing with {codec.value}"):
        compress_file(plain, packed, codec=codec)


def _file_digest(path: Path, *, start: int = 0) -> Digest:
    """Return the digest of a file from byte `start` on."""
    with path.open("rb") as file:
        file.seek(start)
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())
