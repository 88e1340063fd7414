"""A minimal PE32+ UEFI application, put together field by field as Microsoft's format says."""

from __future__ import annotations

import struct

PE_START = 0x80
OPTIONAL = PE_START + 24
TABLE = OPTIONAL + 240
MACHINE = PE_START + 4
CHECKSUM = OPTIONAL + 64
SUBSYSTEM = OPTIONAL + 68
SECURITY_DIRECTORY = OPTIONAL + 112 + 4 * 8
DEBUG_DIRECTORY = OPTIONAL + 112 + 6 * 8
TEXT_START = 0x400
TEXT = b"\xc3" * 700
SBAT = b"sbat,1,SBAT Version,sbat,1,https://example.com/sbat\n"


def pe_stub(*, header_size: int = TEXT_START, symbols: bytes = b"symbols") -> bytes:
    """Return a stub with .text and .sbat, sections aligned to 4096 and files to 512 bytes."""
    text_raw, sbat_raw = 1024, 512
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", PE_START)
    symbol_table = header_size + text_raw + sbat_raw
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, 2, 0, symbol_table, 0, 240, 0x206)
    optional = struct.pack(
        "<HBBIIIIIQIIHHHHHHIIIIHHQQQQII",
        *(0x20B, 2, 40, text_raw, sbat_raw, 0, 0x1000, 0x1000),
        *(0, 0x1000, 0x200, 0, 0, 0, 0, 0, 0, 0),
        *(0x3000, header_size, 0xBAD, 10, 0, 0, 0, 0, 0, 0, 16),
    )
    table = struct.pack(
        "<8sIIIIIIHHI", b".text", len(TEXT), 0x1000, text_raw, header_size, 0, 0, 0, 0, 0x60000020
    ) + struct.pack(
        *("<8sIIIIIIHHI", b".sbat", len(SBAT), 0x2000, sbat_raw),
        *(header_size + text_raw, 0, 0, 0, 0, 0x40000040),
    )
    headers = dos.ljust(PE_START, b"\0") + coff + optional + bytes(128) + table
    assert len(headers) <= header_size
    body = TEXT.ljust(text_raw, b"\0") + SBAT.ljust(sbat_raw, b"\0")
    return headers.ljust(header_size, b"\0") + body + symbols


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    """Return `data` with `value` written over it at byte `offset`."""
    return data[:offset] + value + data[offset + len(value) :]
