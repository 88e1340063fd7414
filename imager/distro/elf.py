"""Executables and shared libraries (ELF, 64-bit, little-endian) without what is never loaded.

System V ABI, chapters 4 and 5: programs are run by their program headers; sections are for
linkers and debuggers.
"""

from __future__ import annotations

import struct

_ELF64_LE = b"\x7fELF\x02\x01"
_HEADER_SIZE = 64
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


def is_elf(data: bytes) -> bool:
    """Say whether `data` starts as a 64-bit little-endian ELF file does."""
    return data.startswith(_ELF64_LE)


def loaded_part(elf: bytes) -> bytes:
    """Return `elf` without its sections' headers and all behind the last byte that is loaded.

    Raises ValueError when it is no such file, or is cut off.
    """
    if not is_elf(elf) or len(elf) < _HEADER_SIZE:
        raise ValueError("no 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", elf, 0x20)
    entry_size, count = struct.unpack_from("<HH", elf, 0x36)
    end = table + entry_size * count
    if entry_size != _PROGRAM_HEADER.size or not count or end > len(elf):
        raise ValueError("damaged program headers")
    for index in range(count):
        fields = _PROGRAM_HEADER.unpack_from(elf, table + index * entry_size)
        end = max(end, fields[2] + fields[5])
    if end > len(elf):
        raise ValueError("a segment is cut off")
    header = bytearray(elf[:_HEADER_SIZE])
    header[0x28:0x30] = bytes(8)  # e_shoff
    header[0x3C:0x40] = bytes(4)  # e_shnum, e_shstrndx
    return bytes(header) + elf[_HEADER_SIZE:end]
