"""Making an image cache: an OCI layout with one layer, a tar of the cache's tree.

All sizes are known from the manifests, so the layer is planned before a blob is fetched: local
blobs are copied to their places in it, remote ones are written there as they arrive.
"""

from __future__ import annotations

import enum
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.checks import Check, checking
from imager.copier import write_content, write_error
from imager.errors import InputError
from imager.extents import Codec, Content, FileRange
from imager.filetree import PlacedFile, TreeFile, VolumePlan
from imager.imagecache.compress import compress_file
from imager.imagecache.gather import BlobSource, Gathered
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


def parse_compression(text: str) -> LayerCompression:
    """Return the compression called `text`; raises InputError for an unknown one."""
    try:
        return LayerCompression(text)
    except ValueError:
        known = ", ".join(each.value for each in LayerCompression)
        raise InputError(f"{text!r} is not a layer compression", hint=f"use {known}") from None


@dataclass(frozen=True, slots=True)
class Created:
    """A finished cache: its layer's size in bytes, and how much of that is blobs."""

    path: Path
    layer: Descriptor
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
    return (path / LAYOUT_FILE).exists() or not any(path.iterdir())


def create_cache(
    gathered: Gathered, path: Path, *, compression: LayerCompression, reporter: Reporter
) -> Created:
    """Write the cache of `gathered` to the folder `path`, atomically, replacing one there.

    The same images give the same bytes. Raises InputError for a local blob that is not what its
    digest says, DependencyError when a registry fails, HostError for a lack of space.
    """
    plan = plan_tar(_tree(gathered), timestamp=_TIMESTAMP)
    # A compressed layer is written beside the plain one.
    copies = 1 if compression is LayerCompression.NONE else 2
    target = _real(path)
    check_free_space(target.parent, copies * plan.content.size)
    with atomic_folder(target) as folder:
        (folder / "blobs" / "sha256").mkdir(parents=True)
        layer = _write_layer(gathered, plan, folder, compression, reporter)
        _write_documents(gathered, layer, folder)
    blob_size = sum(source.blob.size for source in gathered.blobs.values())
    return Created(path, layer.descriptor, blob_size)


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
    compression: LayerCompression,
    reporter: Reporter,
) -> _Layer:
    media_type, codec = _LAYER_TYPES[compression]
    plain = folder / "layer.tar"
    with plain.open("xb", buffering=0) as file:
        _fill(gathered, plan, file.fileno(), reporter)
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


def _fill(gathered: Gathered, plan: VolumePlan, target: int, reporter: Reporter) -> None:
    """Write the tar: first what is on this machine, then each remote blob at its place."""
    places = {file.path: file for file in plan.files}
    checks = []
    remote: list[tuple[PlacedFile, BlobSource]] = []
    for digest, source in sorted(gathered.blobs.items()):
        content = source.source.blob_content(source.blob)
        if content is None:
            remote.append((places[blob_path(digest)], source))
            continue
        checks += [
            Check(f"blob {digest}", extent.source, extent.length, digest.hex)
            for extent in content.extents
            if isinstance(extent.source, FileRange)
        ]
    total = plan.content.data_size + sum(place.length for place, _ in remote)
    with reporter.transfer("caching", total) as advance, checking(checks) as raise_failed:

        def progress(count: int) -> None:
            raise_failed()
            advance(count)

        write_content(plan.content, target, progress=progress)
        for place, source in remote:
            source.source.fetch_blob(source.blob, _PlaceSink(target, place.offset, progress))


class _PlaceSink:
    """Writes what it gets to the file, from byte `offset` on."""

    def __init__(self, target: int, offset: int, progress: Advance) -> None:
        self._target = target
        self._offset = offset
        self._progress = progress

    def write(self, data: bytes) -> None:
        """Write `data` behind what was written before; raises HostError when the disk is full."""
        view = memoryview(data)
        while view:
            try:
                done = os.pwrite(self._target, view, self._offset)
            except OSError as error:
                raise write_error(error) from error
            self._offset += done
            view = view[done:]
        self._progress(len(data))


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
