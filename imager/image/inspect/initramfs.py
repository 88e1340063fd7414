"""Look into an initramfs: its archives, and the system extensions of Talos in them.

The list of extensions: Talos, internal/pkg/extensions. The archives with extensions come last, so
those before them are not decompressed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imager.content.extents import Content
from imager.content.random_access import ContentReader
from imager.content.streams import stream_of
from imager.content.tree import Tree
from imager.formats.cpio import open_cpio
from imager.formats.initramfs import Archive, find_archives
from imager.image.inspect.model import ExtensionInfo, InitramfsInfo
from imager.image.inspect.notes import Depth, Notes
from imager.support.errors import InputError

LIST = "extensions.yaml"
# The most that is decompressed of an archive.
_LARGEST = 2 << 30
_LARGEST_REMOTE = 4 << 20


def read_initramfs(
    initramfs: Content, *, place: str, path: str, notes: Notes, depth: Depth
) -> tuple[InitramfsInfo, tuple[Tree, ...]]:
    """Return what is in an initramfs, and the trees of the archives that were read.

    Compressed archives that are not in one piece are copied to the folder for temporary files. A
    large remote initramfs is not read.
    """
    what = f"{place}: {path}" if path else place
    if depth.is_remote and initramfs.size > _LARGEST_REMOTE:
        notes.unread(what, "the initramfs is not read, since the image is remote")
        return InitramfsInfo(place, path, initramfs.size, (), ()), ()
    archives: list[Archive] = []
    with notes.reading(what), ContentReader(initramfs) as reader:
        archives.extend(find_archives(reader))
    extensions: tuple[ExtensionInfo, ...] = ()
    trees: list[Tree] = []
    for archive in reversed(archives):
        if archive.other:
            notes.unread(what, f"the archive compressed with {archive.other} is not read")
            continue
        tree = None
        with notes.reading(what):
            tree = archive_tree(initramfs, archive, name=what, scratch=depth.scratch)
        if tree is None:
            continue
        trees.append(tree)
        if any(file.path == LIST for file in tree.files):
            with notes.reading(f"{what}: {LIST}"):
                extensions = _extensions(tree)
            break
    kinds = tuple(archive.compression for archive in archives)
    return InitramfsInfo(place, path, initramfs.size, kinds, extensions), tuple(trees)


def archive_tree(initramfs: Content, archive: Archive, *, name: str, scratch: Path) -> Tree:
    """Return the tree of an archive; its files are read in place, or from its stream.

    Raises InputError for a damaged one.
    """
    packed = initramfs.slice(archive.start, archive.end - archive.start)
    if archive.codec is None:
        return open_cpio(packed, name=name).tree
    stream = stream_of(packed, archive.codec, scratch=scratch)
    return open_cpio(Content.of_source(stream, _LARGEST), name=name).tree


def _extensions(tree: Tree) -> tuple[ExtensionInfo, ...]:
    """Return the extensions that the list of an archive names."""
    from imager.image.extensions.manifest import LARGEST_MANIFEST
    from imager.support.yamldocs import load_documents

    sizes = {file.path: file.content.size for file in tree.files}
    listed = next(file for file in tree.files if file.path == LIST)
    if listed.content.size > LARGEST_MANIFEST:
        raise InputError("it is too large")
    with ContentReader(listed.content) as reader:
        text = reader.read(0, LARGEST_MANIFEST).decode("utf-8", "replace")
    documents: Sequence[Any] = load_documents(text)
    layers = documents[0].get("layers") if documents and isinstance(documents[0], dict) else None
    if not isinstance(layers, list):
        raise InputError("it has no list of layers")
    return tuple(_extension(each, sizes) for each in layers if isinstance(each, dict))


def _extension(layer: dict[str, Any], sizes: dict[str, int]) -> ExtensionInfo:
    metadata = layer.get("metadata")
    fields: dict[str, Any] = metadata if isinstance(metadata, dict) else {}

    def text(key: str) -> str:
        value = fields.get(key, "")
        return "" if value is None or isinstance(value, dict | list) else str(value)

    image = str(layer.get("image", ""))
    return ExtensionInfo(
        text("name"),
        text("version"),
        text("author"),
        text("description"),
        image,
        sizes.get(image),
    )
