"""Decompress blocks in memory: short streams, whose size is known."""

from __future__ import annotations

import zstandard
from zlib_ng import zlib_ng

from imager.content.compression import DAMAGE, HINT, zstd_frame_end
from imager.content.extents import Codec
from imager.support.errors import InputError

# The window that all decoders support (RFC 8878, 3.1.1.1.2).
_LARGEST_WINDOW = 8 << 20
_WINDOW_BITS = {
    Codec.GZIP: zlib_ng.MAX_WBITS | 16,
    Codec.ZLIB: zlib_ng.MAX_WBITS,
    Codec.DEFLATE: -zlib_ng.MAX_WBITS,
}


def decompress_block(packed: bytes, codec: Codec, most: int) -> bytes:
    """Return the bytes of a stream that is in memory, of which there may be at most `most`.

    What follows the stream does not matter. Raises InputError when the stream is damaged, cut off
    or longer.
    """
    try:
        data = _decompressed(packed, codec, most + 1)
    except DAMAGE as error:
        raise InputError(f"a compressed block is damaged: {error}", hint=HINT) from error
    if len(data) > most:
        raise InputError(f"a compressed block has more than {most} bytes", hint=HINT)
    return data


def _decompressed(packed: bytes, codec: Codec, most: int) -> bytes:
    match codec:
        case Codec.XZ:
            from imager.content.xz_streams import whole_xz  # a node has no liblzma

            return whole_xz(packed, most)
        case Codec.ZSTD:
            return _decompressed_zstd(packed, most)
    decoder = zlib_ng.decompressobj(_WINDOW_BITS[codec])
    data = decoder.decompress(packed, most)
    if len(data) < most and not decoder.eof:
        raise EOFError("it is cut off")
    return data


def _decompressed_zstd(packed: bytes, most: int) -> bytes:
    decoder = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    data = decoder.stream_reader(packed).read(most)
    # The decoder does not report a truncated frame.
    end = zstd_frame_end(lambda at, size: packed[at : at + size], 0, len(packed))
    if end > len(packed):
        raise EOFError("it is cut off")
    return data
