"""Read xz streams with limited memory."""

from __future__ import annotations

import lzma
from typing import IO

_MEMORY = 256 << 20
_READ = 128 << 10


def first_xz_bytes(head: bytes, count: int) -> bytes:
    """Return the first `count` bytes of a stream that begins with `head`; raises OSError."""
    return _start(_decoder(), head, count)


def whole_xz(packed: bytes, most: int) -> bytes:
    """Return the bytes of a stream, only the first `most` if it has more.

    Raises OSError or EOFError for damage.
    """
    decoder = _decoder()
    data = _start(decoder, packed, most)
    if len(data) < most and not decoder.eof:
        raise EOFError("it is cut off")
    return data


def _start(decoder: lzma.LZMADecompressor, packed: bytes, most: int) -> bytes:
    try:
        return decoder.decompress(packed, most)
    except lzma.LZMAError as error:
        raise OSError(str(error)) from error


def _decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, _MEMORY)


class XzStreams:
    """A sequential reader of xz streams one after the other, with limited memory.

    lzma.LZMAFile has no limit, and a dictionary may have 4 GiB.
    """

    def __init__(self, source: IO[bytes]) -> None:
        """Read the streams in `source`."""
        self._source = source
        self._decoder = _decoder()
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end; raises OSError or EOFError for damage."""
        try:
            return self._read(size)
        except lzma.LZMAError as error:
            raise OSError(str(error)) from error

    def _read(self, size: int) -> bytes:
        while size:
            if self._decoder.eof and not self._next():
                break
            needs_input = self._decoder.needs_input
            piece = (self._left or self._source.read(_READ)) if needs_input else b""
            self._left = b""
            if needs_input and not piece:
                raise EOFError("it is cut off")
            if data := self._decoder.decompress(piece, size):
                return data
        return b""

    def _next(self) -> bool:
        """Begin the next stream, behind zeros as padding; return whether there is one."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest and (piece := self._source.read(_READ)):
            rest = piece.lstrip(b"\0")
        self._decoder, self._left = (_decoder(), rest) if rest else (self._decoder, b"")
        return bool(rest)
