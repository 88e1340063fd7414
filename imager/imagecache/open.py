"""Opening an image cache from where it lies: an OCI layout, a flat tree, or a tar of the tree.

Nothing is unpacked. Files of an uncompressed source are ranges of the files they lie in; of a
compressed one they are ranges of its stream, hashed in the pass that finds them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imager.arch import Arch
from imager.checks import Check
from imager.compression import detect_codec
from imager.copier import write_error
from imager.errors import InputError
from imager.extents import Codec, Content, FileRange
from imager.imagecache.cache import LARGEST_MANIFEST, CacheFile, ImageCache, load_cache
from imager.imagecache.tree import ManifestPath, parse_path
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, Layout, LayoutImage
from imager.oci.manifest import (
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    ImageManifest,
    Index,
    RawManifest,
)
from imager.oci.reference import Reference
from imager.reporter import Advance, Reporter
from imager.tarball import index_tar
from imager.workspace import check_free_space

if TYPE_CHECKING:
    from imager.oci.registry import RegistryClient

_LARGEST_KEPT_BLOB = 64 << 10
_MOST_KEPT = 64 << 20
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_LAYER_CODECS: dict[str, Codec | None] = {
    OCI_LAYER: None,
    OCI_LAYER_GZIP: Codec.GZIP,
    OCI_LAYER_ZSTD: Codec.ZSTD,
    _DOCKER_LAYER: None,
    f"{_DOCKER_LAYER}.gzip": Codec.GZIP,
}
_HINT = (
    "give an OCI layout folder, a flat tree, a tar of the tree, or a registry reference "
    "such as registry.local/talos/image-cache:v1"
)


def open_cache(path: Path, *, arch: Arch) -> ImageCache:
    """Return the cache at `path`, complete for `arch` except for what only a copy can tell.

    The cache's `checks` must run beside the copy of its files. Raises InputError when there is
    no cache, or when it is damaged or incomplete.
    """
    if not path.exists():
        raise InputError(f"image cache {path} does not exist", hint=_HINT)
    cache = _open(path, arch)
    cache.require_arch(arch)
    return cache


def pull_cache(
    reference: Reference, *, arch: Arch, client: RegistryClient, folder: Path, reporter: Reporter
) -> ImageCache:
    """Return the cache that is the image `reference` in a registry; its layer goes to `folder`.

    Raises as `open_cache`, and DependencyError when the registry fails.
    """
    image = client.image(reference)
    root = image.root()
    if isinstance(root.document, Index):
        root = image.manifest(_select(str(reference), root.document, arch).digest)
    layer = _only_layer(str(reference), root)
    path = folder / layer.digest.file_name
    check_free_space(folder, layer.size)
    with (
        reporter.transfer(f"pulling {reference}", layer.size) as advance,
        path.open("xb", buffering=0) as file,
    ):
        image.fetch_blob(layer, _Counted(file, advance))
    cache = _open_layer(str(reference), layer, path)
    cache.require_arch(arch)
    return cache


@dataclass(frozen=True, slots=True)
class _Counted:
    """A file that tells how much was written to it."""

    file: BinaryIO | FileIO
    advance: Advance

    def write(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[self.file.write(view) or 0 :]
        except OSError as error:
            raise write_error(error) from error
        self.advance(len(data))


def _open(path: Path, arch: Arch) -> ImageCache:
    if path.is_file():
        return _open_tar(str(path), path)
    if (path / LAYOUT_FILE).exists() or (path / INDEX_FILE).exists():
        return _open_layout(path, arch)
    if (path / "manifests").is_dir():
        return load_cache(str(path), _flat_files(path.resolve()))
    raise InputError(
        f"{path} is not an image cache: it has neither {LAYOUT_FILE} nor manifests/", hint=_HINT
    )


def _select(source: str, index: Index, arch: Arch) -> Descriptor:
    """Return the entry for linux on `arch`: readers choose by the platform of the entry."""
    for entry in index.images:
        platform = entry.platform.normalised() if entry.platform else None
        if platform and (platform.os, platform.architecture) == ("linux", arch.name):
            return entry
    there = sorted({str(entry.platform) for entry in index.images if entry.platform})
    raise InputError(
        f"{source}: no OCI image found for {arch.name}",
        hint=f"it has: {', '.join(there) or 'no platforms at all'}",
    )


def _open_layout(path: Path, arch: Arch) -> ImageCache:
    layout = Layout.open(path)
    image = LayoutImage(layout, _select(str(path), layout.index, arch))
    manifest = image.root()
    layer = _only_layer(str(path), manifest)
    if isinstance(manifest.document, ImageManifest):
        image.fetch_blob(manifest.document.config, _Discard())
    cache = _open_layer(str(path), layer, layout.locate(layer).path)
    check = Check(
        f"layer {layer.digest}", FileRange(layout.locate(layer).path), layer.size, layer.digest.hex
    )
    return replace(cache, containers=(check,))


def _open_layer(source: str, layer: Descriptor, path: Path) -> ImageCache:
    if detect_codec(path) is not _LAYER_CODECS[layer.media_type]:
        raise InputError(
            f"{source}: layer {layer.digest} is not what its media type {layer.media_type} says",
            hint="the cache is damaged: copy or create it again",
        )
    return _open_tar(source, path)


def _only_layer(source: str, manifest: RawManifest) -> Descriptor:
    layers = manifest.document.layers if isinstance(manifest.document, ImageManifest) else ()
    if len(layers) != 1 or layers[0].media_type not in _LAYER_CODECS:
        kinds = ", ".join(layer.media_type for layer in layers) or manifest.media_type
        raise InputError(
            f"{source} is not an image cache: it must have one tar layer, it has {len(layers)} "
            f"({kinds})",
            hint="create one with `imager images cache-create`",
        )
    return layers[0]


class _Discard:
    """A sink for bytes that are read only to be checked."""

    def write(self, data: bytes) -> None:
        """Forget `data`."""


class _SmallFiles:
    """Which files of a compressed layer are kept: manifests, and what may be a configuration.

    They are bounded together: hostile archives may have many.
    """

    def __init__(self) -> None:
        self._left = _MOST_KEPT

    def __call__(self, path: str, size: int) -> bool:
        manifest = isinstance(parse_path(path), ManifestPath)
        kept = size <= (LARGEST_MANIFEST if manifest else _LARGEST_KEPT_BLOB) and size <= self._left
        self._left -= size if kept else 0
        return kept


def _open_tar(source: str, path: Path) -> ImageCache:
    members = index_tar(path.resolve(), keep=_SmallFiles())
    return load_cache(
        source,
        (CacheFile(each.path, each.content, each.sha256, each.data) for each in members),
    )


def _flat_files(folder: Path) -> Iterator[CacheFile]:
    for path in sorted(_walk(folder, folder)):
        yield CacheFile(path, Content.of_file(folder / path))


def _walk(folder: Path, root: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.is_symlink():
                raise InputError(f"{root}: {name} is a link; a cache has files and folders only")
            if entry.is_dir():
                yield from _walk(Path(entry.path), root)
            elif entry.is_file():
                yield name
