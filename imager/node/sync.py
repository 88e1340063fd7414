"""Copies a cache to a volume: checks each blob while copying, and writes image names last.

An interrupted copy resumes: complete files are kept, and a blob continues after the bytes written.
Nothing is removed. An image is complete on the volume as soon as its name exists.

The volume records which caches were copied to it. If an older cache appears again, such as an ISO
left in the drive, tags that a newer one has moved are not moved back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imager.cache.blobstore import BlobStore
from imager.cache.cache import ImageCache
from imager.cache.cache_source import gather_held
from imager.cache.contents import BlobSource
from imager.cache.images import cached_images, cached_signatures
from imager.cache.paths import cache_tree
from imager.content.copier import write_errors
from imager.content.extents import Content
from imager.content.tree import File
from imager.support.atomic import sync_folder, write_atomic
from imager.support.errors import (
    DependencyError,
    InputError,
    NoSpaceError,
    OutputError,
    UnsupportedError,
)
from imager.support.folders import free_space
from imager.support.units import format_size
from imager.support.workers import Work

_JOBS = 2
# Errors of one blob, in the source or target, which do not stop the other copies.
_OF_ONE_BLOB = (InputError, UnsupportedError, DependencyError, OutputError)
_BLOCK = 4096
_TAGS = "/reference/"
_COPIED = ".copied"
_MOST_COPIED = 1000


@dataclass(frozen=True, slots=True)
class CachePlan:
    """The files to copy to the folder `target`: blobs, then manifests, tags last.

    `fingerprint` identifies the cache by the names and bytes of its manifests.
    """

    target: Path
    blobs: tuple[BlobSource, ...]
    manifests: Mapping[str, bytes]
    fingerprint: str

    @property
    def size(self) -> int:
        """The size of the whole cache in bytes."""
        return sum(each.blob.size for each in self.blobs) + sum(map(len, self.manifests.values()))

    @property
    def missing(self) -> int:
        """The disk space in bytes, in whole blocks, that the missing files need."""
        store = BlobStore(self.target / "blob")
        sizes = [store.to_come(each.blob) for each in self.blobs]
        sizes += [len(raw) for path, raw in self.manifests.items() if not self._has(path, raw)]
        return sum(-(-size // _BLOCK) * _BLOCK for size in sizes)

    @property
    def is_done(self) -> bool:
        """Whether the cache was copied before and is still complete."""
        return self.fingerprint in _copied(self.target) and not self.missing

    def _has(self, path: str, raw: bytes) -> bool:
        try:
            return (self.target / path).stat().st_size == len(raw)
        except OSError:
            return False


def plan_copy(cache: ImageCache, target: Path) -> CachePlan:
    """Plan the copy of all images of `cache`, with their signatures, to `target`."""
    gathered = gather_held(cache, (*cached_images(cache), *cached_signatures(cache)))
    order = sorted(gathered.manifests, key=lambda path: (_TAGS in path, path))
    manifests = {path: gathered.manifests[path] for path in order}
    fingerprint = _fingerprint(manifests)
    if fingerprint in _copied(target):
        moved = {path for path in order if _TAGS in path and (target / path).is_file()}
        manifests = {path: raw for path, raw in manifests.items() if path not in moved}
    return CachePlan(target, tuple(gathered.blobs.values()), manifests, fingerprint)


def _fingerprint(manifests: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for path, raw in manifests.items():
        found.update(f"{path} {hashlib.sha256(raw).hexdigest()}\n".encode())
    return found.hexdigest()


def _copied(target: Path) -> list[str]:
    """Return the fingerprints of the caches copied to `target`, in order."""
    with suppress(OSError), (target / _COPIED).open(encoding="ascii", errors="replace") as file:
        return file.read(_MOST_COPIED * 65).split()
    return []


def copy_cache(plan: CachePlan, work: Work) -> None:
    """Copy the missing files of `plan`, advancing `work` by the bytes of all files.

    A damaged blob does not stop the copying of others, but then no names are written. Raises
    HostError when the cache does not fit or the disk is full, one error for all blobs that could
    not be copied, and CancelledError when the work is cancelled.
    """
    free, missing = free_space(plan.target), plan.missing
    if free < missing:
        raise NoSpaceError(
            f"{plan.target} has {format_size(free)} free, but the image cache needs "
            f"{format_size(missing)}: it is too small by {format_size(missing - free)}",
            hint="enlarge the volume IMAGECACHE: `imager config patch` prints the size it needs",
        )
    _copy_blobs(plan, work)
    _make_folders(plan)
    for path, raw in plan.manifests.items():
        work.check()
        _write_file(plan.target / path, raw)
        work.advance(len(raw))
    known = _copied(plan.target)
    if plan.fingerprint not in known:
        lines = "\n".join([*known, plan.fingerprint][-_MOST_COPIED:])
        _write_file(plan.target / _COPIED, f"{lines}\n".encode())


def _make_folders(plan: CachePlan) -> None:
    """Create the folders of manifests, also of those without a tag, after all blobs."""
    tree = cache_tree(File(path, Content.of_bytes(raw)) for path, raw in plan.manifests.items())
    with write_errors():
        for folder in tree.folders:
            (plan.target / folder).mkdir(exist_ok=True)


def _copy_blobs(plan: CachePlan, work: Work) -> None:
    store = BlobStore.open(plan.target / "blob")

    def copy(wanted: BlobSource) -> None:
        store.get(wanted, work).chmod(0o644)

    work.run(copy, plan.blobs, jobs=_JOBS, what="blobs", lasting=_OF_ONE_BLOB)
    # Persist the names of blobs before writing those of images.
    sync_folder(store.folder)


def _write_file(path: Path, raw: bytes) -> None:
    with write_errors():
        if path.is_file() and path.read_bytes() == raw:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, raw, mode=0o644)
