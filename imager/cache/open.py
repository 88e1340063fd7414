"""Opening an image cache from where it lies: a layout, a flat tree, a tar of them, or an image.

Nothing is unpacked. Files of an uncompressed source are ranges of the files they lie in; of a
compressed one they are ranges of its stream, hashed in the pass that finds them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from imager.cache.cache import CacheFile, ImageCache
from imager.cache.load import load_cache
from imager.cache.opened import (
    HINT,
    CacheKind,
    OpenedCache,
    Select,
    only_layer,
    platforms_of,
    select_for,
    select_only,
)
from imager.cache.tars import open_layer, open_tar_file
from imager.cache.volumes import image_files, is_image
from imager.content.digests import Check
from imager.content.extents import Content, FileRange
from imager.oci.digest import Digest
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, Layout, LayoutImage
from imager.oci.layout import blob_path as layout_blob_path
from imager.oci.manifest import ImageManifest
from imager.oci.reference import is_strict_reference
from imager.oci.sinks import Discard
from imager.support.arch import Arch
from imager.support.errors import Fail, ImagerError, InputError, stop_at


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


def _open(path: Path, select: Select, fail: Fail) -> OpenedCache:
    if not path.exists():
        raise InputError(f"image cache {path} does not exist", hint=_missing_hint(path))
    if path.is_file() or path.is_block_device():
        return _open_image(path, fail) if is_image(path) else open_tar_file(path, select, fail)
    if is_layout(path):
        return _open_layout(path, select, fail)
    if (path / "manifests").is_dir():
        return _open_flat(path, fail)
    raise InputError(
        f"{path} is not an image cache: it has neither {LAYOUT_FILE} nor manifests/", hint=HINT
    )


def _missing_hint(path: Path) -> str:
    """Return the hint for a path that does not exist: it may be meant for a registry."""
    if is_strict_reference(str(path)):
        return f"copy it from the registry first: `skopeo copy docker://{path} oci:image-cache.oci`"
    return HINT


def is_layout(path: Path) -> bool:
    """Whether `path` is meant to be an OCI layout."""
    return (path / LAYOUT_FILE).exists() or (path / INDEX_FILE).exists()


def _open_layout(path: Path, select: Select, fail: Fail) -> OpenedCache:
    layout = Layout.open(path)
    image = LayoutImage(layout, select(str(path), layout.index))
    manifest = image.root()
    listed = f"NAME=oci:{path}"
    layer = only_layer(str(path), manifest, listed=listed)
    named = {image.entry.digest, layer.digest}
    if isinstance(manifest.document, ImageManifest):
        named.add(manifest.document.config.digest)
        try:
            image.fetch_blob(manifest.document.config, Discard())
        except ImagerError as error:
            fail(error)
    place = layout.locate(layer)
    opened = open_layer(str(path), layer, place.content(), fail, listed=listed)
    check = Check(f"layer {layer.digest}", FileRange(place.path), layer.size, layer.digest.hex)
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


def _open_image(path: Path, fail: Fail) -> OpenedCache:
    cache = load_cache(str(path), image_files(path.resolve(), fail=fail), fail=fail)
    return OpenedCache(cache, CacheKind.IMAGE)


def _open_flat(path: Path, fail: Fail) -> OpenedCache:
    folder = path.resolve()
    folders: set[str] = set()
    files = sorted(_walk(folder, folder, folders, fail))
    contents = (CacheFile(name, Content.of_file(folder / name)) for name in files)
    cache = load_cache(str(path), contents, fail=fail)
    lacking = tuple(name for name in cache.folders if name not in folders)
    return OpenedCache(cache, CacheKind.FLAT, lacking=lacking)


def _walk(folder: Path, root: Path, folders: set[str], fail: Fail) -> Iterator[str]:
    """Yield the files below `folder`, and add the folders to `folders`; paths begin at `root`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.is_symlink():
                fail(InputError(f"{root}: {name} is a link; a cache has files and folders only"))
            elif entry.is_dir():
                folders.add(name)
                yield from _walk(Path(entry.path), root, folders, fail)
            elif entry.is_file():
                yield name
