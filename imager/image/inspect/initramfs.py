"""Look into an initramfs: its archives, and the system extensions of Talos in them.

Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst; the list of extensions:
Talos, internal/pkg/extensions. Where an archive ends is found without decompressing it, so only
the archives with extensions are decompressed: they come last.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imager.content.compression import stream_codec, zstd_frame_end
from imager.content.extents import Codec, Content
from imager.content.random_access import ContentReader
from imager.content.streams import stream_of
from imager.content.tree import Tree
from imager.formats.cpio import MAGICS, open_cpio
from imager.formats.xz import xz_stream_end
from imager.image.extensions.manifest import LARGEST_MANIFEST
from imager.image.inspect.model import ExtensionInfo, InitramfsInfo
from imager.image.inspect.notes import Depth, Notes
from imager.support.errors import InputError, UnsupportedError
from imager.support.yamldocs import load_documents

LIST = "extensions.yaml"
_OTHERS = (
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"BZh", "bzip2"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x89LZO", "lzop"),
)
_PIECE = 64 << 10
_MOST_ARCHIVES = 256
# Of 128 KiB at most each: 128 GiB.
_MOST_BLOCKS = 1 << 20
# The most that is decompressed of an archive.
_LARGEST = 2 << 30
_GZIP_LIMIT = 512 << 20
_LARGEST_REMOTE = 4 << 20


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive of an initramfs, from `start` to `end`; `codec` is None if it is not compressed.

    `end` is that of the initramfs if it is not known.
    """

    start: int
    end: int
    codec: Codec | None
    other: str = ""

    @property
    def compression(self) -> str:
        """The name of the compression."""
        return self.other or (self.codec.value if self.codec else "none")


def is_initramfs(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a cpio archive, not compressed."""
    return head.startswith(MAGICS)


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
        archives.extend(_archives(reader))
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


def _archives(reader: ContentReader) -> Iterator[Archive]:
    position = 0
    for _ in range(_MOST_ARCHIVES):
        position = _after_zeros(reader, position)
        if position >= reader.size:
            return
        archive = _archive(reader, position)
        yield archive
        position = archive.end
    raise UnsupportedError(f"it has more than {_MOST_ARCHIVES} archives")


def _archive(reader: ContentReader, start: int) -> Archive:
    head = reader.read(start, 8)
    if head.startswith(MAGICS):
        return Archive(start, _cpio_end(reader, start), None)
    codec = stream_codec(head)
    match codec:
        case Codec.ZSTD:
            end = zstd_frame_end(reader.read, start, reader.size, most=_MOST_BLOCKS)
        case Codec.XZ:
            end = xz_stream_end(reader, start)
        case Codec.GZIP:
            end = _gzip_end(reader, start)
        case _:
            other = next((name for magic, name in _OTHERS if head.startswith(magic)), "")
            if not other and not start:
                raise UnsupportedError("it is neither a cpio archive nor compressed as usual")
            if not other:
                raise InputError(f"at byte {start} there is no archive")
            return Archive(start, reader.size, None, other)
    if end > reader.size:
        raise InputError(f"the archive at byte {start} is cut off")
    return Archive(start, end, codec)


def _cpio_end(reader: ContentReader, start: int) -> int:
    return open_cpio(reader.content, offset=start, name=f"the archive at byte {start}").end


def _gzip_end(reader: ContentReader, start: int) -> int:
    """Return where a gzip member ends, which only decompressing it tells."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    position, done = start, 0
    while not decoder.eof:
        piece = decoder.unconsumed_tail or reader.read(position, _PIECE)
        if not decoder.unconsumed_tail:
            position += len(piece)
        if not piece:
            raise InputError(f"the archive at byte {start} is cut off")
        done += len(decoder.decompress(piece, 1 << 20))
        if done > _GZIP_LIMIT:
            raise UnsupportedError("an archive compressed with gzip is too large to be read")
    return position - len(decoder.unused_data)


def _after_zeros(reader: ContentReader, position: int) -> int:
    # A section of a UKI may have gigabytes of zeros that are nowhere.
    while piece := reader.read(position := reader.data_start(position), _PIECE):
        if rest := piece.lstrip(b"\0"):
            return position + len(piece) - len(rest)
        position += len(piece)
    return position


def _extensions(tree: Tree) -> tuple[ExtensionInfo, ...]:
    """Return the extensions that the list of an archive names."""
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
