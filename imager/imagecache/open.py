"""Opening an image cache from where it lies: an OCI layout, a flat tree, or a tar of the tree.

Nothing is unpacked. Files of an uncompressed source are ranges of the files they lie in; of a
compressed one they are ranges of its stream, hashed in the pass that finds them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from imager.arch import Arch
from imager.checks import Check
from imager.compression import detect_codec
from imager.errors import InputError
from imager.extents import Codec, Content, FileRange
from imager.imagecache.cache import LARGEST_MANIFEST, CacheFile, ImageCache, load_cache
from imager.imagecache.tree import ManifestPath, parse_path
from imager.oci.layout import LAYOUT_FILE, Layout, LayoutImage
from imager.oci.manifest import (
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    ImageManifest,
)
from imager.tarball import TarMember, index_tar

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


def _open(path: Path, arch: Arch) -> ImageCache:
    if path.is_file():
        return _open_tar(str(path), path)
    if (path / LAYOUT_FILE).exists() or (path / "index.json").exists():
        return open_layer(str(path), _select(Layout.open(path), arch))
    if (path / "manifests").is_dir():
        return load_cache(str(path), _flat_files(path.resolve()))
    raise InputError(
        f"{path} is not an image cache: it has neither {LAYOUT_FILE} nor manifests/", hint=_HINT
    )


def _select(layout: Layout, arch: Arch) -> LayoutImage:
    """Return the cache's image for `arch`: readers choose by the platform of the index entry."""
    for entry in layout.index.images:
        platform = entry.platform.normalised() if entry.platform else None
        if platform and (platform.os, platform.architecture) == ("linux", arch.name):
            return LayoutImage(layout, entry)
    there = sorted({str(entry.platform) for entry in layout.index.images if entry.platform})
    raise InputError(
        f"{layout.folder}: no OCI image found for {arch.name}",
        hint=f"it has: {', '.join(there) or 'no platforms at all'}",
    )


def open_layer(source: str, image: LayoutImage) -> ImageCache:
    """Return the cache in the one layer of `image`; `source` names it in messages."""
    manifest = image.root()
    if not isinstance(manifest.document, ImageManifest):
        raise InputError(f"{source} is an index of indexes, not an image cache", hint=_HINT)
    layer = _only_layer(source, manifest.document)
    _check_config(image, manifest.document)
    place = image.layout.locate(layer)
    codec = detect_codec(place.path)
    if codec is not _LAYER_CODECS[layer.media_type]:
        raise InputError(
            f"{source}: layer {layer.digest} is not what its media type {layer.media_type} says",
            hint="the cache is damaged: copy or create it again",
        )
    check = Check(f"layer {layer.digest}", FileRange(place.path), layer.size, layer.digest.hex)
    return _open_tar(source, place.path, containers=(check,))


def _only_layer(source: str, manifest: ImageManifest) -> Descriptor:
    if len(manifest.layers) != 1 or manifest.layers[0].media_type not in _LAYER_CODECS:
        kinds = ", ".join(layer.media_type for layer in manifest.layers)
        raise InputError(
            f"{source} is an image but not an image cache: it must have one tar layer, "
            f"it has {len(manifest.layers)} ({kinds})",
            hint="create one with `imager images cache-create`",
        )
    return manifest.layers[0]


class _Discard:
    """A sink for bytes that are read only to be checked."""

    def write(self, data: bytes) -> None:
        """Forget `data`."""


def _check_config(image: LayoutImage, manifest: ImageManifest) -> None:
    image.fetch_blob(manifest.config, _Discard())


def _open_tar(source: str, path: Path, *, containers: tuple[Check, ...] = ()) -> ImageCache:
    members = index_tar(path.resolve(), keep=_is_manifest)
    return load_cache(source, map(_member_file, members), containers=containers)


def _is_manifest(path: str, size: int) -> bool:
    return size <= LARGEST_MANIFEST and isinstance(parse_path(path), ManifestPath)


def _member_file(member: TarMember) -> tuple[CacheFile, bytes | None]:
    file = CacheFile(member.path, member.content, member.sha256)
    return file, _manifest_data(file) if member.sha256 is None else member.data


def _manifest_data(file: CacheFile) -> bytes | None:
    """Return the bytes of a plain file, if it is a manifest of no more than a manifest's size."""
    if not _is_manifest(file.path, file.content.size):
        return None
    parts = []
    for extent in file.content.extents:
        if isinstance(extent.source, FileRange):
            with extent.source.path.open("rb") as source:
                source.seek(extent.source.offset)
                parts.append(source.read(extent.length))
    return b"".join(parts)


def _flat_files(folder: Path) -> Iterator[tuple[CacheFile, bytes | None]]:
    for path in sorted(_walk(folder, folder)):
        file = CacheFile(path, Content.of_file(folder / path))
        yield file, _manifest_data(file)


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
