"""Write many contents to files of their own, decompressing each source once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from imager.content.compression import StreamReader
from imager.content.copier import write_content, write_error
from imager.content.extents import BlockRange, Content, FileRange, StreamRange
from imager.content.reading import CHUNK, Blocks, read_stream
from imager.content.tree import Link, Tree
from imager.support.descriptors import MADE, opened


def write_files(files: Mapping[Path, Content]) -> None:
    """Write each content to its path, which must be new, in folders that exist.

    Raises HostError when the disk is full, OutputError when reading or writing fails, InputError
    when a source is damaged or shorter than planned.
    """
    with ExitStack() as stack:
        readers: dict[StreamRange, StreamReader] = {}
        blocks = Blocks()
        for path, content in sorted(files.items(), key=lambda item: _position(item[1])):
            source = content.extents[0].source if len(content.extents) == 1 else None
            with opened(path, MADE | os.O_EXCL) as descriptor:
                if not isinstance(source, StreamRange):
                    write_content(content, descriptor, progress=lambda _count: None, blocks=blocks)
                    continue
                stream = source.stream
                if stream not in readers:
                    readers[stream] = stack.enter_context(StreamReader.of(stream))
                pieces = read_stream(readers[stream], source.offset, content.size, CHUNK)
                with open(descriptor, "wb", closefd=False) as file:
                    for piece in pieces:
                        try:
                            file.write(piece)
                        except OSError as error:
                            raise write_error(error) from error


def write_tree(tree: Tree, folder: Path) -> None:
    """Write the folders, files and links of `tree` to the new `folder`; raises as `write_files`.

    Files keep their permissions; devices are left out.
    """
    for path in ("", *tree.folders):
        (folder / path).mkdir(parents=True, exist_ok=True)
    write_files({folder / file.path: file.content for file in tree.files})
    for file in tree.files:
        (folder / file.path).chmod(file.mode & 0o777)
    # Last, so that nothing is written through them.
    for node in tree.nodes:
        if isinstance(node, Link):
            (folder / node.path).symlink_to(node.target)


def _position(content: Content) -> tuple[str, int]:
    """Return a key that sorts contents by their place in their source."""
    for extent in content.extents:
        source = extent.source
        if isinstance(source, StreamRange):
            return str(source.path), source.offset
        if isinstance(source, BlockRange):
            packed = source.packed.extents[0].source
            return ("", packed.offset) if isinstance(packed, FileRange) else ("", 0)
    return "", 0
