"""Compress a content to gzip (RFC 1952, RFC 1951): one member, without name and time.

Cloud importers and some readers stop after the first member, so the chunks are joined to one
deflate stream: each ends at a byte boundary with an empty stored block. zlib-ng gives equal bytes
on every processor and architecture, which ISA-L does not.
"""

from __future__ import annotations

import struct
from collections.abc import Generator

from zlib_ng import zlib_ng

from imager.content.extents import Content
from imager.content.packing.chunks import Packed, compresses, packed_chunks
from imager.content.packing.deflate import stored_blocks

# Deflate, no flags, no time, no hint about the level, Unix.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
# The last block, which is empty.
_END = b"\x03\x00"
# As in pigz.
_LEVEL = 6
_RAW_DEFLATE = -15


def pack_gzip(content: Content, *, threads: int) -> Generator[Packed, None, None]:
    """Yield the content as gzip; raises like `iterate_content`."""
    yield Packed(_HEADER)
    crc = 0
    for chunk in packed_chunks(content, _packed, threads=threads):
        deflated, chunk_crc = chunk.part
        crc = zlib_ng.crc32_combine(crc, chunk_crc, chunk.size)
        yield Packed(deflated, chunk.covered)
    yield Packed(_END + struct.pack("<II", crc, content.size & 0xFFFFFFFF))


def _packed(data: bytes) -> tuple[bytes, int]:
    """Return blocks of a deflate stream, none of them the last, and the CRC-32 of `data`."""
    deflated = _deflated(data) if compresses(data) else stored_blocks(data, is_last=False)
    return deflated, zlib_ng.crc32(data)


def _deflated(data: bytes) -> bytes:
    stream = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, _RAW_DEFLATE)
    return stream.compress(data) + stream.flush(zlib_ng.Z_FULL_FLUSH)
