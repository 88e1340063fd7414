"""Opening an image cache from where it lies: a layout, a flat tree, a tar of it, or an image.

Nothing is unpacked. Files of an uncompressed source are ranges of the files they lie in; of a
compressed one they are ranges of its stream, hashed in the pass that finds them.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from imager.arch import Arch
from imager.checks import Check
from imager.compression import detect_codec
from imager.errors import Fail, ImagerError, InputError, UnsupportedError, stop_at
from imager.extents import Codec, Content, FileRange
from imager.imagecache.cache import CacheFile, ImageCache
from imager.imagecache.load import LARGEST_MANIFEST, load_cache
from imager.imagecache.tree import ManifestPath, parse_path
from imager.imagecache.volumes import image_files, is_image
from imager.oci.digest import Digest
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, Layout, LayoutImage
from imager.oci.layout import blob_path as layout_blob_path
from imager.oci.manifest import (
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    ImageManifest,
    Index,
    RawManifest,
)
from imager.oci.platform import Platform
from imager.oci.sinks import Discard
from imager.tarball import index_tar

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
    "give an OCI layout folder, a flat tree, a tar of the tree, an ISO or disk image, or a "
    "registry reference such as registry.local/talos/image-cache:v1"
)


class CacheKind(enum.Enum):
    """What a cache lies in: an OCI image (a layout, a registry), a bare tree, a tar of it.

    Or an image that machines boot from: an ISO, a disk, a stick.
    """

    OCI = "oci"
    FLAT = "flat"
    TAR = "tar"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class OpenedCache:
    """A cache, and how it is packed.

    `codec` is how its tar is compressed. Of an OCI image there are the `layer` and, when it
    has an index, the platforms of its entries, by which readers choose. `unnamed` are files of a
    layout that nothing in it names.
    """

    cache: ImageCache
    kind: CacheKind
    codec: Codec | None = None
    layer: Descriptor | None = None
    entries: tuple[Platform, ...] | None = None
    unnamed: tuple[Path, ...] = ()


def open_cache(path: Path, *, arch: Arch) -> ImageCache:
    """Return the cache at `path`, complete for `arch` except for what only a copy can tell.

    The cache's `checks` must run beside the copy of its files. Raises InputError when there is
    no cache, or when it is damaged or incomplete.
    """
    cache = _open(path, partial(select_for, arch=arch), stop_at).cache
    cache.require_arch(arch)
    return cache


def open_whole_cache(path: Path, *, fail: Fail = stop_at) -> OpenedCache:
    """Return the cache at `path` with all its platforms, complete or not.

    `fail` gets what is wrong with it and does not keep it from being read. Raises InputError for
    what does, UnsupportedError for a layout of several caches.
    """
    return _open(path, select_only, fail)


Select = Callable[[str, Index], Descriptor]


def _open(path: Path, select: Select, fail: Fail) -> OpenedCache:
    if not path.exists():
        raise InputError(f"image cache {path} does not exist", hint=_HINT)
    if path.is_file() or path.is_block_device():
        return _open_image(path, fail) if is_image(path) else _open_tar(str(path), path, fail)
    if is_layout(path):
        return _open_layout(path, select, fail)
    if (path / "manifests").is_dir():
        cache = load_cache(str(path), _flat_files(path.resolve(), fail), fail=fail)
        return OpenedCache(cache, CacheKind.FLAT)
    raise InputError(
        f"{path} is not an image cache: it has neither {LAYOUT_FILE} nor manifests/", hint=_HINT
    )


def is_layout(path: Path) -> bool:
    """Whether `path` is meant to be an OCI layout."""
    return (path / LAYOUT_FILE).exists() or (path / INDEX_FILE).exists()


def select_for(source: str, index: Index, arch: Arch) -> Descriptor:
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


def select_only(source: str, index: Index) -> Descriptor:
    """Return the entry of the one cache there is, however many platforms it stands for."""
    found = {entry.digest: entry for entry in index.images}
    if not found:
        raise InputError(f"{source} has no images in its index", hint=_HINT)
    if len(found) > 1:
        there = ", ".join(str(entry.platform or entry.digest) for entry in found.values())
        raise UnsupportedError(
            f"{source} holds {len(found)} caches, one each for {there}",
            hint="make one of them: `imager images cache-create --platform` takes several",
        )
    return next(iter(found.values()))


def platforms_of(index: Index) -> tuple[Platform, ...]:
    """Return the platforms of an index's images, normalised, in its order."""
    return tuple(entry.platform.normalised() for entry in index.images if entry.platform)


def _open_layout(path: Path, select: Select, fail: Fail) -> OpenedCache:
    layout = Layout.open(path)
    image = LayoutImage(layout, select(str(path), layout.index))
    manifest = image.root()
    layer = only_layer(str(path), manifest)
    named = {image.entry.digest, layer.digest}
    if isinstance(manifest.document, ImageManifest):
        named.add(manifest.document.config.digest)
        try:
            image.fetch_blob(manifest.document.config, Discard())
        except ImagerError as error:
            fail(error)
    opened = open_layer(str(path), layer, layout.locate(layer).path, fail)
    check = Check(
        f"layer {layer.digest}", FileRange(layout.locate(layer).path), layer.size, layer.digest.hex
    )
    return replace(
        opened,
        cache=replace(opened.cache, containers=(check,)),
        entries=platforms_of(layout.index),
        unnamed=_others(layout.folder, named),
    )


def _others(folder: Path, named: set[Digest]) -> tuple[Path, ...]:
    """Return the files of a layout that are none of the blobs `named`."""
    expected = {layout_blob_path(digest) for digest in named} | {LAYOUT_FILE, INDEX_FILE}
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return tuple(sorted(p for p in files if p.relative_to(folder).as_posix() not in expected))


def open_layer(source: str, layer: Descriptor, path: Path, fail: Fail) -> OpenedCache:
    """Return the cache in the file `path`, the layer of an OCI image called `source`.

    Raises InputError when it cannot be read; `fail` gets what else is wrong.
    """
    if detect_codec(path) is not _LAYER_CODECS[layer.media_type]:
        raise InputError(
            f"{source}: layer {layer.digest} is not what its media type {layer.media_type} says",
            hint="the cache is damaged: copy or create it again",
        )
    return replace(_open_tar(source, path, fail), kind=CacheKind.OCI, layer=layer)


def only_layer(source: str, manifest: RawManifest) -> Descriptor:
    """Return the layer of a cache's manifest; raises InputError when it is another image."""
    layers = manifest.document.layers if isinstance(manifest.document, ImageManifest) else ()
    if len(layers) != 1 or layers[0].media_type not in _LAYER_CODECS:
        kinds = ", ".join(layer.media_type for layer in layers) or manifest.media_type
        raise InputError(
            f"{source} is not an image cache: it must have one tar layer, it has {len(layers)} "
            f"({kinds})",
            hint="create one with `imager images cache-create`",
        )
    return layers[0]


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


def _open_tar(source: str, path: Path, fail: Fail) -> OpenedCache:
    members = index_tar(path.resolve(), keep=_SmallFiles())
    cache = load_cache(
        source,
        (CacheFile(each.path, each.content, each.sha256, each.data) for each in members),
        fail=fail,
    )
    return OpenedCache(cache, CacheKind.TAR, detect_codec(path))


def _open_image(path: Path, fail: Fail) -> OpenedCache:
    cache = load_cache(str(path), image_files(path.resolve(), fail=fail), fail=fail)
    return OpenedCache(cache, CacheKind.IMAGE)


def _flat_files(folder: Path, fail: Fail) -> Iterator[CacheFile]:
    for path in sorted(_walk(folder, folder, fail)):
        yield CacheFile(path, Content.of_file(folder / path))


def _walk(folder: Path, root: Path, fail: Fail) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.is_symlink():
                fail(InputError(f"{root}: {name} is a link; a cache has files and folders only"))
            elif entry.is_dir():
                yield from _walk(Path(entry.path), root, fail)
            elif entry.is_file():
                yield name
