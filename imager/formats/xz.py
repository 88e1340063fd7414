"""Find where an xz stream ends without decompressing it.

Format: https://tukaani.org/xz/xz-file-format.txt, 1.2.0, sections 2.1.2 and 4. A stream ends with a
footer whose checksum is right, and before it an index whose checksum is right and whose sizes add
up to what is before it.
"""

from __future__ import annotations

import binascii
import struct

from imager.content.random_access import ContentReader
from imager.support.errors import InputError

_HEADER, _FOOTER = 12, 12
_MAGIC, _END = b"\xfd7zXZ\0", b"YZ"
_WINDOW = 1 << 20
_LARGEST_INDEX = 1 << 20
# In noise, one in 2^18 bytes looks like an end at first.
_MOST_TRIED = 10_000
_TAIL = struct.Struct("<II2s2s")


def xz_stream_end(reader: ContentReader, start: int) -> int:
    """Return the end of the stream at byte `start`; raises InputError if there is none."""
    flags = reader.read(start, _HEADER)[6:8]
    position = start + _HEADER
    tried = 0
    while position < reader.size:
        window = reader.read(position, _WINDOW + _FOOTER)
        at = window.find(_END)
        while at >= 0:
            end = position + at + len(_END)
            if (end - start) % 4 == 0:
                tried += 1
                if tried > _MOST_TRIED:
                    raise InputError(f"the xz stream at byte {start} has no end")
                if _is_end(reader, start, end, flags):
                    return end
            at = window.find(_END, at + 1)
        position += _WINDOW
    raise InputError(f"the xz stream at byte {start} is cut off")


def _is_end(reader: ContentReader, start: int, end: int, flags: bytes) -> bool:
    if end - start < _HEADER + _FOOTER:
        return False
    footer = reader.read(end - _FOOTER, _FOOTER)
    crc, backward, own_flags, _ = _TAIL.unpack(footer)
    if own_flags != flags or binascii.crc32(footer[4:10]) != crc:
        return False
    size = (backward + 1) * 4
    first = end - _FOOTER - size
    if size > _LARGEST_INDEX or first < start + _HEADER:
        return False
    index = reader.read(first, size)
    sum_ = int.from_bytes(index[-4:], "little")
    return index[0] == 0 and binascii.crc32(index[:-4]) == sum_ and _covers(index, first - start)


def _covers(index: bytes, length: int) -> bool:
    """Return whether the blocks that an index lists fill the stream from its header on."""
    at = 1
    try:
        count, at = _number(index, at)
        total = _HEADER
        for _ in range(count):
            unpadded, at = _number(index, at)
            _, at = _number(index, at)
            total += unpadded + -unpadded % 4
    except IndexError:
        return False
    return total == length


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return a number in groups of seven bits, and the byte behind it (1.2)."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80 or shift > 63:
            return value, at
