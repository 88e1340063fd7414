"""A zstd frame whose end is stored, for data that is compressed already.

Format: RFC 8878. A frame is a header and blocks; a raw block is a header of three bytes and up to
128 KiB of data. The stored part stays where it is: only the headers are new.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import zstandard

from imager.content.extents import Content
from imager.content.reading import iterate_bytes

# Block_Maximum_Size, RFC 8878, section 3.1.1.2.4; the window is larger.
_BLOCK = 128 << 10
_LAST, _SIZE_SHIFT = 1, 3


def compressed_start(content: Content, *, level: int) -> Iterator[bytes]:
    """Yield the start of a frame: the header, and `content` in compressed blocks.

    The bytes do not depend on the number of processors.
    """
    # libzstd's result differs without threads, but not with their number.
    threads = len(os.sched_getaffinity(0))
    settings = zstandard.ZstdCompressionParameters.from_level(
        level, threads=threads, write_content_size=False, write_checksum=False
    )
    encoder = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    for piece in iterate_bytes(content):
        yield encoder.compress(piece)
    # All blocks are complete then, and none is marked as the last one.
    yield encoder.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def stored_end(content: Content) -> Content:
    """Return the end of a frame: the non-empty `content` in raw blocks."""
    placed: list[tuple[int, Content]] = []
    end = 0
    for start in range(0, content.size, _BLOCK):
        data = content.slice(start, min(_BLOCK, content.size - start))
        last = _LAST if start + data.size == content.size else 0
        header = (last | data.size << _SIZE_SHIFT).to_bytes(3, "little")
        placed += [(end, Content.of_bytes(header)), (end + len(header), data)]
        end += len(header) + data.size
    return Content.compose(end, placed)
