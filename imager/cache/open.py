"""Open an image cache in place: an OCI layout, a flat tree, a tar of either, or an image.

Nothing is unpacked. Files of an uncompressed source are ranges of the containing file. Files of a
compressed source are ranges of its stream. Blobs are checked when they are copied.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imager.cache.errors import NotAnImageCacheError
from imager.cache.load import load_cache
from imager.cache.opened import (
    HINT,
    CacheKind,
    OpenedCache,
    lacking_folders,
    select_entry,
)
from imager.content.folder import open_folder
from imager.oci.layout import INDEX_FILE, LAYOUT_FILE, Layout, LayoutImage
from imager.oci.layout import blob_path as layout_blob_path
from imager.oci.manifest import ImageManifest
from imager.oci.reference import is_strict_reference
from imager.support.arch import Arch
from imager.support.errors import Fail, stop_at


def open_cache(path: Path, *, arch: Arch | None = None, fail: Fail = stop_at) -> OpenedCache:
    """Open the cache at `path`, and check that it is complete for `arch`, if given.

    Run the cache's `checks` when copying its files. `fail` receives the errors that leave the cache
    readable. Raises InputError if there is no cache, or if it is damaged or incomplete for `arch`;
    UnsupportedError for a layout with several caches if `arch` is None.
    """
    opened = _open(path, arch, fail)
    if arch is not None:
        opened.cache.require_arch(arch)
    return opened


def _open(path: Path, arch: Arch | None, fail: Fail) -> OpenedCache:
    if not path.exists():
        raise NotAnImageCacheError(f"image cache {path} does not exist", hint=_missing_hint(path))
    if path.is_file() or path.is_block_device():
        return _open_file(path, arch, fail)
    if is_layout(path):
        return _open_layout(path, arch, fail)
    if (path / "manifests").is_dir():
        return _open_flat(path, fail)
    raise NotAnImageCacheError(
        f"{path} is not an image cache: it has neither {LAYOUT_FILE} nor manifests/", hint=HINT
    )


def _missing_hint(path: Path) -> str:
    """Return the hint for a path that does not exist and may be a registry reference."""
    if is_strict_reference(str(path)):
        return f"copy it from the registry first: `skopeo copy docker://{path} oci:image-cache.oci`"
    return f"{HINT}; a registry reference needs a tag or digest"


def is_layout(path: Path) -> bool:
    """Whether `path` looks like an OCI layout."""
    return (path / LAYOUT_FILE).exists() or (path / INDEX_FILE).exists()


def _open_layout(path: Path, arch: Arch | None, fail: Fail) -> OpenedCache:
    from imager.cache.tars import open_layout_image

    layout = Layout.open(path)
    image = LayoutImage(layout, select_entry(str(path), layout.index, arch))
    opened = open_layout_image(str(path), image, fail, listed=f"NAME=oci:{path}")
    return replace(opened, unnamed=_unnamed(image))


def _unnamed(image: LayoutImage) -> tuple[Path, ...]:
    """Return the files of the layout that belong neither to the layout nor to the image."""
    folder, document = image.layout.path, image.root().document
    named = [image.entry, *(document.blobs if isinstance(document, ImageManifest) else ())]
    expected = {layout_blob_path(each.digest) for each in named} | {LAYOUT_FILE, INDEX_FILE}
    tree = open_folder(folder)
    found = {*(file.path for file in tree.files), *tree.others}
    return tuple(folder / path for path in sorted(found - expected))


def _open_file(path: Path, arch: Arch | None, fail: Fail) -> OpenedCache:
    # The readers of file systems, and of tars
    from imager.cache.tars import open_tar_file
    from imager.cache.volumes import image_tree, is_image

    if not is_image(path):
        return open_tar_file(path, arch, fail)
    cache = load_cache(str(path), image_tree(path.resolve()), fail=fail)
    return OpenedCache(cache, CacheKind.IMAGE)


def _open_flat(path: Path, fail: Fail) -> OpenedCache:
    tree = open_folder(path.resolve())
    cache = load_cache(str(path), tree, fail=fail)
    return OpenedCache(cache, CacheKind.FLAT, lacking=lacking_folders(cache, tree))
