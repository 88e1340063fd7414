"""Parse little-endian ELF files (32-bit and 64-bit): segments and sections.

System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html).
Segments describe what is loaded to run a program; sections are for linkers and debuggers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_IDENT_SIZE = 16
_LOAD = 1


@dataclass(frozen=True, slots=True)
class _Layout:
    """The fields used here of an ELF class.

    `header`: type, machine, place of program and section headers, size and number of each, number
    of the section of names. `program`: type, offset, address, size. `section`: name, offset, size.
    `unneeded` are the (offset, size) of the header fields that are 0 without sections: e_shoff, and
    e_shnum with e_shstrndx.
    """

    header: struct.Struct
    program: struct.Struct
    section: struct.Struct
    unneeded: tuple[tuple[int, int], ...]


_LAYOUTS = {
    b"\x7fELF\x01\x01": _Layout(
        struct.Struct("<HH8xII6xHHHHH"),
        struct.Struct("<III4xI12x"),
        struct.Struct("<I12xII16x"),
        ((0x20, 4), (0x30, 4)),
    ),
    b"\x7fELF\x02\x01": _Layout(
        struct.Struct("<HH12xQQ6xHHHHH"),
        struct.Struct("<I4xQQ8xQ16x"),
        struct.Struct("<I20xQQ24x"),
        ((0x28, 8), (0x3C, 4)),
    ),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A program segment: `size` bytes at file offset `offset`, loaded at `address`."""

    is_loaded: bool
    offset: int
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class Elf:
    """A complete ELF file; `bits` is 32 or 64, `kind` and `machine` are e_type and e_machine."""

    data: bytes
    bits: int
    kind: int
    machine: int
    segments: tuple[Segment, ...]
    headers_end: int

    @classmethod
    def parse(cls, data: bytes) -> Elf:
        """Parse the headers; raises ValueError for a damaged, truncated or non-ELF file."""
        layout = _layout(data)
        kind, machine, table, _, size, count, *_ = _header(data, layout)
        end = table + size * count
        if count and (size != layout.program.size or end > len(data)):
            raise ValueError("damaged program headers")
        places = range(table, end, size) if count else ()
        entries = (layout.program.unpack_from(data, place) for place in places)
        segments = tuple(Segment(type_ == _LOAD, *place) for type_, *place in entries)
        if any(segment.offset + segment.size > len(data) for segment in segments):
            raise ValueError("a segment is cut off")
        return cls(data, 32 * data[4], kind, machine, segments, end)

    def contents(self, segment: Segment) -> bytes:
        """Return the bytes of `segment` that the file contains."""
        return self.data[segment.offset : segment.offset + segment.size]

    def section(self, name: str) -> bytes:
        """Return the bytes of the section `name`; raises ValueError if it does not exist."""
        layout = _layout(self.data)
        _, _, _, table, _, _, size, count, names = _header(self.data, layout)
        if size != layout.section.size or names >= count:
            raise ValueError("damaged section headers")
        if table + count * size > len(self.data):
            raise ValueError("the section table is cut off")
        entries = [layout.section.unpack_from(self.data, table + n * size) for n in range(count)]
        texts = self._section_bytes(*entries[names][1:])
        wanted = name.encode() + b"\0"
        for text, *place in entries:
            if texts.startswith(wanted, text):
                return self._section_bytes(*place)
        raise ValueError(f"no section {name}")

    def _section_bytes(self, offset: int, size: int) -> bytes:
        if offset + size > len(self.data):
            raise ValueError("a section is cut off")
        return self.data[offset : offset + size]

    def loaded_part(self) -> bytes:
        """Return the file without section headers and without everything after the last segment.

        Raises ValueError for a file without segments.
        """
        if not self.segments:
            raise ValueError("nothing in it is loaded")
        end = max(self.headers_end, *(each.offset + each.size for each in self.segments))
        part = bytearray(self.data[:end])
        for offset, size in _layout(self.data).unneeded:
            part[offset : offset + size] = bytes(size)
        return bytes(part)


def elf_bits(data: bytes) -> int:
    """Return 32 or 64 if `data` starts like a little-endian ELF file, otherwise 0."""
    return 32 * data[4] if data[:6] in _LAYOUTS else 0


def _layout(data: bytes) -> _Layout:
    layout = _LAYOUTS.get(data[:6])
    if layout is None:
        raise ValueError("not a little-endian ELF file")
    return layout


def _header(data: bytes, layout: _Layout) -> tuple[int, ...]:
    if len(data) < _IDENT_SIZE + layout.header.size:
        raise ValueError("the ELF header is cut off")
    return layout.header.unpack_from(data, _IDENT_SIZE)
