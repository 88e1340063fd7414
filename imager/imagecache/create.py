"""Making an image cache: an OCI layout with one layer, a tar of the cache's tree, or the tree.

All sizes are known from the manifests, so the layer is planned before a blob is fetched: local
blobs are copied to their places in it, remote ones are written there as they arrive.
"""

from __future__ import annotations

import enum
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from imager.checks import Check, checking
from imager.copier import write_content
from imager.errors import InputError
from imager.extents import Codec, Content, FileRange
from imager.filetree import TreeFile, VolumePlan
from imager.imagecache.compress import compress_file
from imager.imagecache.gather import BlobSource, Gathered
from imager.imagecache.transfer import BlobPlace, fetch_blobs
from imager.imagecache.tree import blob_path
from imager.oci.digest import Digest
from imager.oci.documents import dump_json
from imager.oci.layout import (
    INDEX_FILE,
    LAYOUT_FILE,
    REF_NAME,
    oci_layout_json,
)
from imager.oci.layout import blob_path as layout_blob_path
from imager.oci.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    index_json,
    manifest_json,
)
from imager.oci.platform import Platform
from imager.reporter import Advance, Reporter
from imager.tarball import plan_tar
from imager.workspace import atomic_folder, check_free_space, check_output_folder

_REF = "latest"
_TIMESTAMP = 0


class LayerCompression(enum.Enum):
    """How the cache's layer is compressed; blobs are compressed already, so none is best."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


_LAYER_TYPES: Mapping[LayerCompression, tuple[str, Codec | None]] = {
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

    @classmethod
    def parse(cls, *, layout: str, compression: str, jobs: int) -> CreateOptions:
        """Return the options as they are written; raises InputError for unknown ones."""
        return cls(
            _named(CacheLayout, layout, what="cache layout"),
            _named(LayerCompression, compression, what="layer compression"),
            jobs,
        )


_Named = TypeVar("_Named", bound=enum.Enum)


def _named(kind: type[_Named], text: str, *, what: str) -> _Named:
    try:
        return kind(text)
    except ValueError:
        known = ", ".join(each.value for each in kind)
        raise InputError(f"{text!r} is not a {what}", hint=f"use one of: {known}") from None


@dataclass(frozen=True, slots=True)
class Created:
    """A finished cache: the layer that it is, unless it is flat, and the bytes of its blobs."""

    path: Path
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
    check_output_folder(_real(path).parent)


def _real(path: Path) -> Path:
    """Return the folder that `path` leads to: a link stays, and what it leads to is replaced."""
    return Path(os.path.realpath(path))


def _is_cache(path: Path) -> bool:
    marks = (path / LAYOUT_FILE, path / "manifests")
    return any(mark.exists() for mark in marks) or not any(path.iterdir())


def create_cache(
    gathered: Gathered, path: Path, *, options: CreateOptions, reporter: Reporter
) -> Created:
    """Write the cache of `gathered` to the folder `path`, atomically, replacing one there.

    The same images give the same bytes. Raises InputError for a local blob that is not what its
    digest says, DependencyError when a registry fails, HostError for a lack of space.
    """
    create = {CacheLayout.OCI: _create_oci, CacheLayout.FLAT: _create_flat}[options.layout]
    layer = create(gathered, _real(path), options, reporter)
    blob_size = sum(source.blob.size for source in gathered.blobs.values())
    return Created(path, layer, blob_size)


def _create_oci(
    gathered: Gathered, target: Path, options: CreateOptions, reporter: Reporter
) -> Descriptor:
    plan = plan_tar(_tree(gathered), timestamp=_TIMESTAMP)
    # A compressed layer is written beside the plain one.
    copies = 1 if options.compression is LayerCompression.NONE else 2
    check_free_space(target.parent, copies * plan.content.size)
    with atomic_folder(target) as folder:
        (folder / "blobs" / "sha256").mkdir(parents=True)
        layer = _write_layer(gathered, plan, folder, options, reporter)
        _write_documents(gathered, layer, folder)
    return layer.descriptor


def _create_flat(
    gathered: Gathered, target: Path, options: CreateOptions, reporter: Reporter
) -> None:
    if options.compression is not LayerCompression.NONE:
        raise InputError("a flat cache has no layer that could be compressed")
    files = _tree(gathered)
    check_free_space(target.parent, sum(file.content.size for file in files))
    with atomic_folder(target) as folder:
        places = {file.path: (folder / file.path, 0) for file in files}
        size = sum(file.content.data_size for file in files)
        with _transferring(gathered, places, size, options, reporter) as progress:
            for file in files:
                path = folder / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb", buffering=0) as out:
                    write_content(file.content, out.fileno(), progress=progress)


def _tree(gathered: Gathered) -> Sequence[TreeFile]:
    files = {path: Content.of_bytes(raw) for path, raw in gathered.manifests.items()}
    for digest, source in gathered.blobs.items():
        local = source.source.blob_content(source.blob)
        files[blob_path(digest)] = Content(source.blob.size) if local is None else local
    return [TreeFile(path, content) for path, content in sorted(files.items())]


@dataclass(frozen=True, slots=True)
class _Layer:
    descriptor: Descriptor
    diff_id: Digest


def _write_layer(
    gathered: Gathered,
    plan: VolumePlan,
    folder: Path,
    options: CreateOptions,
    reporter: Reporter,
) -> _Layer:
    media_type, codec = _LAYER_TYPES[options.compression]
    plain = folder / "layer.tar"
    places = {file.path: (plain, file.offset) for file in plan.files}
    with (
        plain.open("xb", buffering=0) as file,
        _transferring(gathered, places, plan.content.data_size, options, reporter) as progress,
    ):
        write_content(plan.content, file.fileno(), progress=progress)
    reporter.step("hashing the layer")
    diff_id = digest = _file_digest(plain)
    packed = plain
    if codec is not None:
        reporter.step(f"compressing the layer with {codec.value}")
        packed = folder / "layer.packed"
        compress_file(plain, packed, codec=codec)
        plain.unlink()
        digest = _file_digest(packed)
    packed = packed.rename(folder / layout_blob_path(digest))
    return _Layer(Descriptor(media_type, digest, packed.stat().st_size), diff_id)


@contextmanager
def _transferring(
    gathered: Gathered,
    places: Mapping[str, tuple[Path, int]],
    local_size: int,
    options: CreateOptions,
    reporter: Reporter,
) -> Iterator[Advance]:
    """Check local blobs while the block writes them; then fetch the remote ones to `places`.

    `places` has, by the path in the tree, a file and an offset in it. `local_size` is what the
    block writes, in bytes; yields a progress for it.
    """
    local, remote = _split(gathered)
    total = local_size + sum(source.blob.size for source in remote.values())
    with reporter.transfer("caching", total) as advance, checking(local) as raise_failed:

        def progress(count: int) -> None:
            raise_failed()
            advance(count)

        yield progress
        wanted = [
            BlobPlace(source, *places[blob_path(digest)]) for digest, source in remote.items()
        ]
        fetch_blobs(wanted, jobs=options.jobs, progress=progress)


def _split(gathered: Gathered) -> tuple[list[Check], dict[Digest, BlobSource]]:
    """Return the checks of what is on this machine, and the blobs that are not."""
    checks: list[Check] = []
    remote: dict[Digest, BlobSource] = {}
    for digest, source in sorted(gathered.blobs.items()):
        content = source.source.blob_content(source.blob)
        if content is None:
            remote[digest] = source
            continue
        checks += [
            Check(f"blob {digest}", extent.source, extent.length, digest.hex)
            for extent in content.extents
            if isinstance(extent.source, FileRange)
        ]
    return checks, remote


def _file_digest(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def _write_documents(gathered: Gathered, layer: _Layer, folder: Path) -> None:
    platforms = sorted(gathered.platforms) or [Platform("linux", "amd64")]
    config_json = dump_json(
        {
            "architecture": platforms[0].architecture,
            "os": platforms[0].os,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id)]},
        }
    )
    config = Descriptor(OCI_CONFIG, Digest.of(config_json), len(config_json))
    manifest = manifest_json(config, [layer.descriptor])
    # The name stands at one entry alone: umoci takes a second one for an ambiguous tag.
    names = (((REF_NAME, _REF),), *[()] * (len(platforms) - 1))
    entries = [
        Descriptor(OCI_MANIFEST, Digest.of(manifest), len(manifest), platform, name)
        for platform, name in zip(platforms, names, strict=True)
    ]
    documents = {
        layout_blob_path(config.digest): config_json,
        layout_blob_path(Digest.of(manifest)): manifest,
        INDEX_FILE: index_json(entries),
        LAYOUT_FILE: oci_layout_json(),
    }
    for name, data in documents.items():
        (folder / name).write_bytes(data)
