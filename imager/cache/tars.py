"""Open caches in tars of the tree or of an OCI layout, at the root or in one folder.

The members of a plain tar are ranges of the file, and a compressed layer in it is a stream that
begins at an offset of the file. A compressed tar is a single stream; if a layer in it is also
compressed, it is copied to a temporary file first.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imager.cache.cache import blob_check
from imager.cache.errors import DamagedCacheError, NotAnImageCacheError
from imager.cache.load import LARGEST_MANIFEST, load_cache
from imager.cache.opened import (
    HINT,
    LAYER_CODECS,
    CacheKind,
    OpenedCache,
    lacking_folders,
    only_layer,
    other_image,
    platforms_of,
    select_entry,
)
from imager.cache.paths import parse_path
from imager.cache.sniff import not_a_cache
from imager.content.extents import Content, StreamRange
from imager.content.reading import iterate_bytes, read_start
from imager.content.tar import BLOCK, first_names, open_tar
from imager.content.tar_source import TarPlace
from imager.content.tree import Tree
from imager.formats.tar_disk import is_tar
from imager.oci.digest import Digest
from imager.oci.files import ArchiveFiles
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, Layout, LayoutImage
from imager.oci.manifest import Descriptor, ImageManifest
from imager.oci.plainfile import write_plain
from imager.oci.reference import Reference
from imager.oci.sinks import Discard
from imager.support.arch import Arch
from imager.support.errors import Fail, ImagerError, InputError, UnsupportedError

_LARGEST_KEPT_BLOB = 64 << 10
_MOST_KEPT = 64 << 20
_DOCKER_INDEX = "manifest.json"
_MANIFESTS = "manifests"
_LAYOUT = (INDEX_FILE, LAYOUT_FILE)
_DAMAGED = "the archive is damaged: copy or create it again"


def open_tar_file(path: Path, arch: Arch | None, fail: Fail) -> OpenedCache:
    """Open the cache in the plain or compressed tar `path`.

    Raises InputError if the file is not a tar or has no cache, HostError if the disk is too full
    for a layer that is compressed twice. `fail` receives other errors.
    """
    place = TarPlace.of_file(path.resolve())
    if not first_names(place, 1) and not is_tar(read_start(path, BLOCK)):
        raise not_a_cache(path)
    tree = _find_cache(path, open_tar(place, keep=_SmallFiles()))
    files = _files(path, tree)
    if not any(map(files.has, _LAYOUT)):
        return replace(_open_tree(str(path), tree, fail), codec=place.codec, packed=place.codec)
    try:
        layout = Layout.of(files)
        image = LayoutImage(layout, select_entry(str(path), layout.index, arch))
        opened = open_layout_image(str(path), image, fail, listed=f"NAME=oci-archive:{path}")
    except (InputError, UnsupportedError):
        # Archives of `docker save` contain a layout as well.
        if files.has(_DOCKER_INDEX):
            raise _docker_archive(path) from None
        raise
    return replace(opened, kind=CacheKind.ARCHIVE, packed=place.codec)


def open_tar_layout(path: Path) -> Layout:
    """Open the OCI layout in the plain or compressed tar `path`.

    Raises InputError if there is no layout, and as `Layout.of`.
    """
    tree = open_tar(TarPlace.of_file(path.resolve()), keep=_SmallFiles())
    return Layout.of(_files(path, _find_cache(path, tree)))


def _files(path: Path, tree: Tree) -> ArchiveFiles:
    return ArchiveFiles(path, {file.path: file for file in tree.files})


def open_layout_image(source: str, image: LayoutImage, fail: Fail, *, listed: str) -> OpenedCache:
    """Open the cache in the image of the layout at `source`; see `open_layer`."""
    manifest = image.root()
    layer = only_layer(source, manifest, listed=listed)
    if isinstance(manifest.document, ImageManifest):
        _check_config(image, manifest.document.config, fail)
    file = image.layout.blob(layer)
    opened = open_layer(source, layer, file.content, fail, listed=listed)
    check = blob_check(layer.digest, file.content, what=f"layer {layer.digest}")
    return replace(
        opened,
        cache=replace(opened.cache, containers=(check,)),
        entries=platforms_of(image.layout.index),
    )


def _check_config(image: LayoutImage, config: Descriptor, fail: Fail) -> None:
    """Check a configuration; one of a compressed archive was kept when the archive was read."""
    try:
        kept = image.layout.blob(config).data
        if kept is None:
            image.fetch_blob(config, Discard())
        elif Digest.of(kept) != config.digest:
            what = f"{image.place}: configuration {config.digest}"
            raise DamagedCacheError(f"{what} does not match its digest", hint=_DAMAGED)
    except ImagerError as error:
        fail(error)


def open_layer(
    source: str, layer: Descriptor, content: Content, fail: Fail, *, listed: str
) -> OpenedCache:
    """Open the cache in the layer of the OCI image `source`; `content` is the layer's bytes.

    `listed` is the entry for the image in a list of images. Raises InputError if the layer cannot
    be read, HostError if the disk is too full for a layer that is compressed twice. `fail` receives
    other errors.
    """
    place = _layer_place(source, layer, content)
    try:
        tree = open_tar(place, keep=_SmallFiles())
    except InputError as error:
        what = f"layer {layer.digest} of {source}"
        message = error.message.replace(str(place.source.path), what)
        raise DamagedCacheError(message, hint=error.hint) from error
    if not any(file.path.startswith(f"{_MANIFESTS}/") for file in tree.files):
        raise other_image(source, listed=listed)
    opened = _open_tree(source, tree, fail)
    return replace(opened, kind=CacheKind.OCI, codec=place.codec, layer=layer)


def _layer_place(source: str, layer: Descriptor, content: Content) -> TarPlace:
    """Locate the tar of a layer; raises InputError if it does not match its media type."""
    codec = LAYER_CODECS[layer.media_type]
    match [extent.source for extent in content.extents]:
        case [StreamRange() as stream] if codec is None:
            return TarPlace(stream, content.size)
        case [StreamRange()]:
            plain = write_plain(source, iterate_bytes(content), size=content.size)
            return _layer_place(source, layer, Content.of_file(plain))
    place = TarPlace.of_blob(content)
    if place and place.codec is codec:
        return place
    raise DamagedCacheError(
        f"{source}: layer {layer.digest} does not match its media type {layer.media_type}",
        hint="the cache is damaged: copy or create it again",
    )


class _SmallFiles:
    """Selects the files of a compressed tar to keep: manifests and possible configurations.

    Their total size is limited, to protect against hostile archives.
    """

    def __init__(self) -> None:
        self._left = _MOST_KEPT

    def __call__(self, path: str, size: int) -> bool:
        # The tree may be in a folder of the tar.
        names = (path, path.partition("/")[2])
        manifest = any(isinstance(parse_path(name), Reference) for name in names)
        kept = size <= (LARGEST_MANIFEST if manifest else _LARGEST_KEPT_BLOB) and size <= self._left
        self._left -= size if kept else 0
        return kept


def _find_cache(path: Path, tree: Tree) -> Tree:
    """Return the subtree that is a cache; raises InputError unless there is exactly one."""
    found: dict[str, None] = {}
    for name in (file.path for file in tree.files):
        top, _, rest = name.partition("/")
        if name in _LAYOUT or top == _MANIFESTS:
            found[""] = None
        elif rest in _LAYOUT or rest.startswith(f"{_MANIFESTS}/"):
            found[top] = None
    folder = "" if "" in found else next(iter(found), None)
    if folder is None:
        raise _without_cache(path, tree)
    if folder and len(found) > 1:
        raise NotAnImageCacheError(
            f"{path} has several image caches: {', '.join(f'{name}/' for name in sorted(found))}",
            hint="unpack it, and give one of the folders",
        )
    return tree.below(folder)


def _without_cache(path: Path, tree: Tree) -> InputError:
    if any(file.path == _DOCKER_INDEX for file in tree.files):
        return _docker_archive(path)
    return NotAnImageCacheError(
        f"{path} is a tar without an image cache: it has neither {_MANIFESTS}/ nor {INDEX_FILE}",
        hint=HINT,
    )


def _open_tree(source: str, tree: Tree, fail: Fail) -> OpenedCache:
    cache = load_cache(source, tree, fail=fail)
    return OpenedCache(cache, CacheKind.TAR, lacking=lacking_folders(cache, tree))


def _docker_archive(path: Path) -> InputError:
    return NotAnImageCacheError(
        f"{path} is an archive of `docker save`, not an image cache",
        hint="make a cache of its images: `imager images cache-create --images LIST`, "
        f"where LIST has the line docker-archive:{path}",
    )
