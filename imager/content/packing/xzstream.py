"""Compress a content to xz: one stream of many blocks, as `xz -T0` makes it.

Format: https://tukaani.org/xz/xz-file-format.txt, 1.2.0. Every block tells its sizes, so that xz
decompresses them in parallel. The check is CRC-32, which every reader supports.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Generator
from dataclasses import dataclass

from zlib_ng import zlib_ng

from imager.content.extents import Content
from imager.content.packing.chunks import Packed, compresses, packed_chunks
from imager.support.units import align_up

_CRC32_FLAGS = b"\x00\x01"
_CHECK_SIZE = 4
_ALIGNMENT = 4
# As in Talos: the data is compressed already, mostly.
_PRESET = 0
_DICTIONARY = 256 << 10
# One filter; both sizes are present.
_BLOCK_FLAGS = 0xC0
# LZMA2 with properties of one byte: a dictionary of 256 KiB.
_FILTER = b"\x21\x01\x0c"
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": _PRESET, "dict_size": _DICTIONARY}]
_LONGEST_STORED = 1 << 16
# Control bytes of LZMA2: stored data, the first with a new dictionary; the end.
_STORED_FIRST, _STORED, _LZMA2_END = b"\x01", b"\x02", b"\x00"


@dataclass(frozen=True, slots=True)
class _Block:
    """A block; `unpadded` is its size without padding, as the index has it."""

    data: bytes
    unpadded: int


def pack_xz(content: Content, *, threads: int) -> Generator[Packed, None, None]:
    """Yield the content as xz; raises like `iterate_content`."""
    yield Packed(b"\xfd7zXZ\x00" + _CRC32_FLAGS + _crc(_CRC32_FLAGS))
    records: list[bytes] = []
    for chunk in packed_chunks(content, _block, threads=threads):
        records.append(_number(chunk.part.unpadded) + _number(chunk.size))
        yield Packed(chunk.part.data, chunk.covered)
    index = _padded(b"\x00" + _number(len(records)) + b"".join(records))
    index += _crc(index)
    footer = struct.pack("<I", len(index) // _ALIGNMENT - 1) + _CRC32_FLAGS
    yield Packed(index + _crc(footer) + footer + b"YZ")


def _block(data: bytes) -> _Block:
    packed = _lzma2(data) if compresses(data) else _stored(data)
    header = _block_header(len(packed), len(data))
    return _Block(header + _padded(packed) + _crc(data), len(header) + len(packed) + _CHECK_SIZE)


def _block_header(packed: int, size: int) -> bytes:
    fields = bytes([_BLOCK_FLAGS]) + _number(packed) + _number(size) + _FILTER
    length = align_up(1 + len(fields), _ALIGNMENT)
    header = (bytes([length // _ALIGNMENT]) + fields).ljust(length, b"\0")
    return header + _crc(header)


def _lzma2(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_FILTERS)


def _stored(data: bytes) -> bytes:
    """Return `data` in uncompressed chunks of LZMA2."""
    parts: list[bytes] = []
    for start in range(0, len(data), _LONGEST_STORED):
        piece = data[start : start + _LONGEST_STORED]
        parts += [_STORED if start else _STORED_FIRST, struct.pack(">H", len(piece) - 1), piece]
    return b"".join((*parts, _LZMA2_END))


def _number(value: int) -> bytes:
    """Encode a number in groups of seven bits, the lowest first (1.2)."""
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _padded(data: bytes) -> bytes:
    return data.ljust(align_up(len(data), _ALIGNMENT), b"\0")


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", zlib_ng.crc32(data))
