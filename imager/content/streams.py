"""Compressed streams inside of any content: as a source of their own, or decompressed to a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from imager.content.compression import StreamReader
from imager.content.extents import Codec, Content, FileRange, StreamRange
from imager.content.reading import is_in_long_stream
from imager.content.unpack import write_files
from imager.support.descriptors import MADE, opened
from imager.support.errors import ImagerError, InputError, no_room

_CHUNK = 1 << 20
_GRAIN = 64 << 10
_ZEROS = bytes(_GRAIN)


def stream_of(packed: Content, codec: Codec, *, scratch: Path) -> StreamRange:
    """Return the stream that `packed` is; it is copied to `scratch` unless it is in one piece."""
    match packed.extents:
        case [extent] if isinstance(extent.source, FileRange) and extent.length == packed.size:
            return StreamRange(extent.source.path, codec, 0, extent.source.offset, packed.size)
    path = new_file(scratch, "stream")
    write_files({path: packed})
    return StreamRange(path, codec)


def settled(content: Content, *, scratch: Path) -> Content:
    """Return a content that may be read in any order: a long stream is written to `scratch`."""
    if not any(is_in_long_stream(extent.source) for extent in content.extents):
        return content
    path = new_file(scratch, "content")
    write_files({path: content})
    return Content.of_file(path)


def new_file(scratch: Path, name: str) -> Path:
    """Return the path of a file that is not in the folder `scratch` yet."""
    return scratch / f"{name}{sum(1 for _ in scratch.iterdir())}"


@dataclass(frozen=True, slots=True)
class Decompressed:
    """A stream as a file; `problem` is why it ends early, empty if it is whole."""

    content: Content
    problem: str = ""


def decompress(stream: StreamRange, path: Path, *, most: int) -> Decompressed:
    """Decompress a stream to the new file `path`, at most `most` bytes; zeros become holes.

    Raises HostError when the disk is full.
    """
    size, problem = 0, ""
    try:
        with opened(path, MADE | os.O_EXCL) as descriptor:
            with StreamReader.of(stream) as reader:
                while True:
                    try:
                        piece = reader.read(min(_CHUNK, most - size))
                    except InputError as error:
                        problem = error.message
                        break
                    if not piece:
                        if size == most and _has_more(reader):
                            problem = f"only its first {most} bytes are read"
                        break
                    _write_data(descriptor, piece, size)
                    size += len(piece)
            os.ftruncate(descriptor, size)
    except OSError as error:
        raise no_room(error, path.parent) or error from error
    return Decompressed(Content.of_source(FileRange(path), size), problem)


def _has_more(reader: StreamReader) -> bool:
    try:
        return bool(reader.read(1))
    except ImagerError:
        return True


def _write_data(descriptor: int, piece: bytes, position: int) -> None:
    """Write a piece except its grains of zeros."""
    start = 0
    while start < len(piece):
        end = start
        while end < len(piece) and not piece.startswith(_ZEROS[: len(piece) - end], end):
            end = min(end + _GRAIN, len(piece))
        view = memoryview(piece)[start:end]
        while view:
            done = os.pwrite(descriptor, view, position + end - len(view))
            view = view[done:]
        start = end + _GRAIN
