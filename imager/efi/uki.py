"""Unified Kernel Images: a UEFI stub with kernel, initramfs and command line as sections.

UAPI group's specification (https://uapi-group.org/specifications/specs/unified_kernel_image/) and
systemd-stub(7). Only the stub (about 100 KB) is read; kernel and initramfs are extents, aligned to
2048 bytes so that other files of an ISO can refer to the same bytes. A section's VirtualSize is the
exact size of its contents, because the stub measures that many bytes into the TPM
(systemd-measure(1)).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.efi.errors import InvalidEfiBinaryError
from imager.efi.pe import SECTION_HEADER, SIZE_LIMIT, PeHeaders, read_headers
from imager.support.errors import UnsupportedError
from imager.support.units import CD_SECTOR, align_up

# A multiple of every FileAlignment used in practice.
_ALIGNMENT = CD_SECTOR
_INSTRUCTION = 4
_STUB_LIMIT = 16 << 20
_FIELD = struct.Struct("<I")
# IMAGE_SCN_CNT_INITIALIZED_DATA and IMAGE_SCN_MEM_READ
_CHARACTERISTICS = 0x4000_0040
_NAME = re.compile(r"\.[A-Za-z0-9_]{1,7}", re.ASCII)
PROFILE = ".profile"


@dataclass(frozen=True, slots=True)
class Section:
    """A section to add; `name` is a dot followed by at most seven letters or digits."""

    name: str
    content: Content


@dataclass(frozen=True, slots=True)
class _Placed:
    """A section at byte `offset` of the file, with `raw_size` bytes there, and its address."""

    section: Section
    offset: int
    raw_size: int
    address: int

    @property
    def header(self) -> bytes:
        return SECTION_HEADER.pack(
            self.section.name.encode("ascii"),
            self.section.content.size,
            self.address,
            self.raw_size,
            self.offset,
            *(0, 0, 0, 0),
            _CHARACTERISTICS,
        )

    @property
    def end(self) -> int:
        return self.offset + self.raw_size

    @property
    def virtual_end(self) -> int:
        return self.address + self.section.content.size


def plan_uki(stub: Path, sections: Sequence[Section]) -> Content:
    """Return the UEFI application made of `stub` with `sections` appended in order.

    The stub's symbol table is dropped, and its headers grow if they are full. Raises InputError
    for a file that is not a PE32+ stub and for an empty section, UnsupportedError for a stub that
    is signed or has no room for the sections, ValueError for an invalid or duplicate name. Names
    may repeat in another profile, which starts with `.profile`.
    """
    headers = read_headers(stub)
    _check_stub(stub, headers)
    _check_sections(stub, headers, sections)
    table_end = headers.table_end + len(sections) * SECTION_HEADER.size
    shift = align_up(max(table_end - headers.first_data, 0), headers.file_alignment)
    _check_room(stub, headers, header_end=table_end, shift=shift)
    placed = tuple(_place(headers, sections, shift=shift))
    if any(max(each.end, each.virtual_end) >= SIZE_LIMIT for each in placed):
        raise UnsupportedError(
            "the unified kernel image would have 4 GiB or more, which PE cannot express",
            hint="make the initramfs smaller, for example with fewer system extensions",
        )
    head = _patched_stub(stub, headers, placed, shift=shift)
    size = max((each.end for each in placed), default=len(head))
    contents = [(each.offset, each.section.content) for each in placed]
    return Content.compose(size, [(0, Content.of_bytes(head)), *contents])


def _check_stub(stub: Path, headers: PeHeaders) -> None:
    if headers.data_end > _STUB_LIMIT:
        raise InvalidEfiBinaryError(
            f"{stub}: {headers.data_end} bytes is too large for a UEFI stub"
        )
    if headers.certificates.size:
        raise UnsupportedError(
            f"{stub}: the stub is signed, and adding to it would break the signature",
            hint="give the unsigned stub: the finished image is signed",
        )


def _check_sections(stub: Path, headers: PeHeaders, sections: Sequence[Section]) -> None:
    own = {section.name for section in headers.sections}
    seen = set(own)
    for section in sections:
        if not _NAME.fullmatch(section.name):
            raise ValueError(f"{section.name!r} is not a section name")
        if not section.content.size:
            raise InvalidEfiBinaryError(f"{stub}: section {section.name} would be empty")
        if section.name == PROFILE:
            seen = set(own)
        elif section.name in seen:
            raise ValueError(f"section {section.name} comes twice")
        seen.add(section.name)


def _check_room(stub: Path, headers: PeHeaders, *, header_end: int, shift: int) -> None:
    lowest = min(section.virtual_address for section in headers.sections)
    # A debug directory contains file offsets, which a shift would invalidate.
    if align_up(header_end, headers.file_alignment) > lowest or (shift and headers.debug):
        raise UnsupportedError(
            f"{stub}: the headers have no room for more sections",
            hint="use the stub of another systemd release",
        )


def _place(headers: PeHeaders, sections: Sequence[Section], *, shift: int) -> Iterator[_Placed]:
    offset = align_up(headers.data_end + shift, headers.file_alignment)
    address = align_up(headers.virtual_end, headers.section_alignment)
    for section in sections:
        # Leave no gaps between sections: Authenticode does not define whether they are hashed.
        end = align_up(offset + section.content.size, max(_ALIGNMENT, headers.file_alignment))
        yield _Placed(section, offset, end - offset, address)
        offset = end
        address = align_up(address + section.content.size, headers.section_alignment)


def _patched_stub(
    stub: Path, headers: PeHeaders, placed: Sequence[_Placed], *, shift: int
) -> bytes:
    """Return the stub up to the end of its sections, with `placed` added to its headers.

    The data after the sections are symbols, which an image does not need.
    """
    data = stub.read_bytes()[: headers.data_end]
    if not _is_padding(data[headers.table_end : headers.first_data]):
        raise UnsupportedError(f"{stub}: unexpected data follows the section table")
    try:
        patched = _patched_headers(data, headers, placed, shift=shift)
    except struct.error as error:
        raise InvalidEfiBinaryError(f"{stub}: not a valid PE32+ executable: {error}") from error
    head = patched[: headers.table_end] + b"".join(each.header for each in placed)
    return head.ljust(headers.first_data + shift, b"\0") + patched[headers.first_data :]


def _is_padding(data: bytes) -> bool:
    """Return whether `data` is zeros or one repeated instruction, as some linkers pad code."""
    word = data[:_INSTRUCTION]
    return not any(data) or data == (word * (len(data) // _INSTRUCTION + 1))[: len(data)]


def _patched_headers(
    data: bytes, headers: PeHeaders, placed: Sequence[_Placed], *, shift: int
) -> bytes:
    """Return the stub with updated global header fields; raises struct.error."""
    head = bytearray(data)

    def put(offset: int, value: int) -> None:
        _FIELD.pack_into(head, offset, value)

    def value_at(offset: int) -> int:
        return int(_FIELD.unpack_from(head, offset)[0])

    header_end = headers.table_end + len(placed) * SECTION_HEADER.size
    virtual_end = max([headers.virtual_end, *(each.virtual_end for each in placed)])
    file_header, optional = headers.file_header, headers.optional_header
    struct.pack_into("<H", head, file_header + 2, len(headers.sections) + len(placed))
    put(file_header + 8, 0)  # PointerToSymbolTable
    put(file_header + 12, 0)  # NumberOfSymbols
    initialized = optional + 8
    put(initialized, value_at(initialized) + sum(each.raw_size for each in placed))
    put(optional + 56, align_up(virtual_end, headers.section_alignment))  # SizeOfImage
    size = max(headers.header_size, align_up(header_end, headers.file_alignment))
    put(optional + 60, size)  # SizeOfHeaders
    put(headers.checksum, 0)
    table = headers.table_end - len(headers.sections) * SECTION_HEADER.size
    for index, section in enumerate(headers.sections):
        if section.raw_size:  # PointerToRawData
            put(table + index * SECTION_HEADER.size + 20, section.offset + shift)
    return bytes(head)
