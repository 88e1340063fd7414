"""Verify what is compressed in an image: all of it is decompressed, on all cores.

Compressed files and initramfs are read to their ends. Of squashfs images, which may be volumes,
files, or files of an initramfs, each block is decompressed once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imager.content.compression import StreamReader, first_bytes, stream_codec
from imager.content.extents import BlockRange, Codec, Content
from imager.content.random_access import ContentReader
from imager.content.reading import Blocks, read_block, read_content
from imager.content.streams import settled, stream_of
from imager.content.tree import File, Tree
from imager.efi.measured import pe_sections
from imager.formats.cpio import MAGICS
from imager.formats.initramfs import find_archives, is_initramfs
from imager.formats.squashfs_read import HEAD_SIZE, is_squashfs, open_squashfs
from imager.image.inspect.initramfs import archive_tree
from imager.image.inspect.notes import Notes
from imager.support.errors import ImagerError, InputError
from imager.support.reporter import Reporter
from imager.support.workers import Work

_CHUNK = 1 << 20
_FIRST_BLOCK = 256 << 10
# What a compressed file may decompress to.
_LARGEST = 64 << 30
_BLOCKS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Stream:
    """Something compressed at `where`, or a part of it: `size` bytes.

    `drain` reads it to its end, with a folder for temporary files, and raises InputError if it is
    damaged. The rest of what the first part begins is not counted again.
    """

    where: str
    size: int
    drain: Callable[[Path], None]
    is_first: bool = True


def streams_in(place: str, files: Sequence[File], notes: Notes) -> Iterator[Stream]:
    """Yield the compressed files, the initramfs of UKIs, and the squashfs images among files."""
    for file in files:
        for each in _compressed(file):
            where = _joined(place, each.path)
            with ContentReader(each.content) as reader:
                head = reader.read(0, HEAD_SIZE)
            if is_squashfs(head):
                with notes.reading(where):
                    tree = open_squashfs(each.content, name=where)
                    yield from squashfs_streams(where, tree, notes)
            else:
                yield Stream(where, each.content.size, partial(_drain, each, where, notes))


def verify_streams(
    streams: Iterable[Stream], notes: Notes, scratch: Path, reporter: Reporter
) -> int:
    """Decompress all streams; return their number."""
    found = list(streams)
    with reporter.transfer("decompressing", sum(each.size for each in found)) as advance:
        work = Work(advance)

        def drain(stream: Stream) -> None:
            with notes.reading(stream.where), tempfile.TemporaryDirectory(dir=scratch) as own:
                stream.drain(Path(own))
            work.advance(stream.size)

        work.run(drain, found, jobs=os.cpu_count() or 1, what="streams")
    return sum(each.is_first for each in found)


def squashfs_streams(where: str, tree: Tree, notes: Notes) -> Iterator[Stream]:
    """Yield the blocks of a squashfs image that its files need, in parts.

    Which files are damaged is in `notes`.
    """
    needed: dict[BlockRange, _Need] = {}
    for file in tree.files:
        for extent in file.content.extents:
            if isinstance(extent.source, BlockRange):
                block = extent.source.block
                need = needed.get(block, _Need(file.path, 0))
                size = max(need.size, extent.source.offset + extent.length)
                needed[block] = _Need(need.path, size)
    blocks = list(needed.items())
    for start in range(0, max(len(blocks), 1), _BLOCKS_AT_ONCE):
        part = blocks[start : start + _BLOCKS_AT_ONCE]
        size = sum(block.packed.size for block, _ in part)
        yield Stream(where, size, partial(_drain_blocks, where, part, notes), not start)


@dataclass(frozen=True, slots=True)
class _Need:
    """The bytes that files need of a block, and the path of the first of them."""

    path: str
    size: int


def _drain_blocks(
    where: str, blocks: Sequence[tuple[BlockRange, _Need]], notes: Notes, _scratch: Path
) -> None:
    around = Blocks()
    for block, need in blocks:
        with notes.reading(f"{where}: {need.path}"):
            size = len(read_block(block, around))
            if size < need.size:
                raise InputError(f"a compressed block has {size} bytes instead of {need.size}")


def _joined(place: str, path: str) -> str:
    return f"{place}: {path}" if place else path


def _compressed(file: File) -> Iterator[File]:
    """Yield a file if it is compressed, or the initramfs in it."""
    with ContentReader(file.content) as reader:
        head = reader.read(0, HEAD_SIZE)
    if stream_codec(head) or is_initramfs(head) or is_squashfs(head):
        yield file
    elif head.startswith(b"MZ"):
        try:
            sections = pe_sections(file.content, name=file.path)
        except ImagerError:
            return  # a finding of the inspection, if it is one that firmware starts
        for section in sections:
            if section.name == ".initrd":
                yield File(f"{file.path} .initrd", section.content)


def _drain(file: File, where: str, notes: Notes, scratch: Path) -> None:
    """Read a compressed file or an initramfs to its end; raises InputError if it is damaged."""
    content = file.content
    with ContentReader(content) as reader:
        head = reader.read(0, _FIRST_BLOCK)
        codec = stream_codec(head)
        if codec and not first_bytes(head, codec, len(MAGICS[0])).startswith(MAGICS):
            _read_stream(content, codec, scratch)
            return
        archives = list(find_archives(reader))
    for archive in archives:
        if archive.codec is not None:
            packed = content.slice(archive.start, archive.end - archive.start)
            _read_stream(packed, archive.codec, scratch)
        if not archive.other:
            tree = archive_tree(content, archive, name=where, scratch=scratch)
            for image in _squashfs_images(tree):
                _drain_squashfs(image, _joined(where, image.path), notes, scratch)


def _drain_squashfs(image: File, where: str, notes: Notes, scratch: Path) -> None:
    # Each has a folder of its own, so that only one is there at a time.
    with notes.reading(where), tempfile.TemporaryDirectory(dir=scratch) as own:
        content = settled(image.content, scratch=Path(own))
        for part in squashfs_streams(where, open_squashfs(content, name=where), notes):
            part.drain(scratch)


def _squashfs_images(tree: Tree) -> Iterator[File]:
    """Yield the squashfs images of an archive, whose files are in its order: one pass over it."""
    files = [file for file in tree.files if file.content.size > HEAD_SIZE]
    heads = read_content(Content.concat(file.content.slice(0, HEAD_SIZE) for file in files))
    for number, file in enumerate(files):
        if is_squashfs(heads[number * HEAD_SIZE :][:HEAD_SIZE]):
            yield file


def _read_stream(packed: Content, codec: Codec, scratch: Path) -> None:
    done = 0
    with StreamReader.of(stream_of(packed, codec, scratch=scratch)) as reader:
        while piece := reader.read(_CHUNK):
            done += len(piece)
            if done > _LARGEST:
                return
