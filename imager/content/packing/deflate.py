"""Data in stored blocks of a deflate stream (RFC 1951, 3.2.4)."""

from __future__ import annotations

import struct

_LONGEST = 0xFFFF


def stored_blocks(data: bytes | memoryview, *, is_last: bool) -> bytes:
    """Return `data` in blocks that are not compressed; `is_last` if the stream ends with them."""
    parts: list[bytes | memoryview] = []
    for start in range(0, len(data), _LONGEST):
        block = data[start : start + _LONGEST]
        ends = is_last and start + len(block) == len(data)
        parts += [struct.pack("<BHH", ends, len(block), len(block) ^ _LONGEST), block]
    return b"".join(parts)
