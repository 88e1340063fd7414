"""Parse the headers of PE32+ executables in untrusted files and contents.

Microsoft's PE format (https://learn.microsoft.com/en-us/windows/win32/debug/pe-format), limited to
what UEFI applications need. Only the headers are read (64 KiB at most), so checking a large kernel,
or a UKI inside a disk image, is fast.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.content.reading import read_content, read_start
from imager.efi.errors import InvalidEfiBinaryError
from imager.support.arch import ARCHES
from imager.support.errors import InputError

SECTION_HEADER = struct.Struct("<8sIIIIIIHHI")
_COFF = struct.Struct("<4sHHIIIHH")
# Offsets are 32-bit.
SIZE_LIMIT = 1 << 32
_HEADERS_LIMIT = 64 << 10
_PE32_PLUS = 0x20B
_EFI_APPLICATION = 10
_OPTIONAL_SIZE = 112
DIRECTORY = struct.Struct("<II")
_SECURITY, _DEBUG = 4, 6
# The limit that the specification sets for loaders.
_SECTIONS_LIMIT = 96


@dataclass(frozen=True, slots=True)
class PeSection:
    """A section: `raw_size` bytes at byte `offset` of the PE file.

    `virtual_size` is the exact size of the contents, `virtual_address` their load address.
    """

    name: str
    offset: int
    raw_size: int
    virtual_address: int
    virtual_size: int


@dataclass(frozen=True, slots=True)
class CertificateTable:
    """The table of signatures: `size` bytes at byte `offset`, both 0 if there is none.

    `entry` is the offset of its 8-byte entry in the headers; 0 if the headers have no such entry.
    """

    entry: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class PeHeaders:
    """The parsed headers; sizes and offsets in bytes from the start of the PE file.

    `file_header` and `optional_header` are offsets of those headers, `table_end` is the end of the
    section table, `header_size` the SizeOfHeaders field.
    """

    machine: int
    subsystem: int
    section_alignment: int
    file_alignment: int
    header_size: int
    file_header: int
    optional_header: int
    table_end: int
    certificates: CertificateTable
    debug: bool
    sections: tuple[PeSection, ...]

    @property
    def checksum(self) -> int:
        """The offset of the 4-byte image checksum."""
        return self.optional_header + 64

    @property
    def first_data(self) -> int:
        """The offset of the first section's data, after the headers."""
        return min(section.offset for section in self.sections if section.raw_size)

    @property
    def data_end(self) -> int:
        """The end offset of the last section's data."""
        return max(section.offset + section.raw_size for section in self.sections)

    @property
    def virtual_end(self) -> int:
        """The end address of the last section in memory."""
        return max(
            section.virtual_address + max(section.virtual_size, section.raw_size)
            for section in self.sections
        )


def read_headers(path: Path) -> PeHeaders:
    """Return the headers of the PE32+ file `path`.

    Raises InputError if it is not a PE32+ file, or if sections extend past its end.
    """
    data = read_start(path, _HEADERS_LIMIT)
    return _checked(data, path.stat().st_size, str(path))


def content_headers(content: Content, *, name: str) -> PeHeaders:
    """Return the headers of the PE32+ file `content`; `name` is for messages.

    Raises InputError if it is not a PE32+ file, or if sections extend past its end.
    """
    head = content.slice(0, min(content.size, _HEADERS_LIMIT))
    return _checked(read_content(head), content.size, name)


def machine_name(machine: int) -> str:
    """Return the name of the architecture with the COFF `machine` id."""
    names = {arch.pe_machine: arch.name for arch in ARCHES}
    return names.get(machine, f"machine {machine:#x}")


def check_pe(path: Path, *, machine: int, what: str) -> None:
    """Check that `path` is a complete UEFI application for the COFF `machine` id.

    Raises InputError, with `what` as the name of the file, if it is not.
    """
    hint = f"give an uncompressed {what} for {machine_name(machine)}"
    try:
        headers = read_headers(path)
    except InputError as error:
        raise InvalidEfiBinaryError(f"{what}: {error.message}", hint=hint) from error
    if headers.machine != machine:
        raise InvalidEfiBinaryError(
            f"{what}: {path} is for {machine_name(headers.machine)}, not {machine_name(machine)}",
            hint=hint,
        )
    if headers.subsystem != _EFI_APPLICATION:
        raise InvalidEfiBinaryError(f"{what}: {path} is not a UEFI application", hint=hint)


def _checked(data: bytes, size: int, name: str) -> PeHeaders:
    try:
        return _parse(data, size)
    except (ValueError, struct.error) as error:
        raise InvalidEfiBinaryError(f"{name}: not a valid PE32+ executable: {error}") from error


def _parse(data: bytes, size: int) -> PeHeaders:
    if data[:2] != b"MZ":
        raise ValueError("it does not begin with MZ")
    (start,) = struct.unpack_from("<I", data, 0x3C)
    signature, machine, count, *_, optional_size, _ = _COFF.unpack_from(data, start)
    optional = start + _COFF.size
    if signature != b"PE\0\0":
        raise ValueError("the PE signature is missing")
    if struct.unpack_from("<H", data, optional) != (_PE32_PLUS,) or optional_size < _OPTIONAL_SIZE:
        raise ValueError("it is not a 64-bit executable")
    (directories,) = struct.unpack_from("<I", data, optional + 108)
    if _OPTIONAL_SIZE + directories * DIRECTORY.size > optional_size:
        raise ValueError("the data directories do not fit into the headers")
    if not 1 <= count <= _SECTIONS_LIMIT:
        raise ValueError(f"{count} sections")
    section_alignment, file_alignment = struct.unpack_from("<II", data, optional + 32)
    if section_alignment.bit_count() != 1 or file_alignment.bit_count() != 1:
        raise ValueError("the alignments are not powers of two")
    (header_size,) = struct.unpack_from("<I", data, optional + 60)
    (subsystem,) = struct.unpack_from("<H", data, optional + 68)
    table = optional + optional_size
    return PeHeaders(
        machine,
        subsystem,
        section_alignment,
        file_alignment,
        header_size,
        file_header=start + 4,
        optional_header=optional,
        table_end=table + count * SECTION_HEADER.size,
        certificates=CertificateTable(*_directory(data, optional, _SECURITY)),
        debug=bool(_directory(data, optional, _DEBUG)[2]),
        sections=_parse_sections(data, table, count=count, size=size),
    )


def _directory(data: bytes, optional: int, index: int) -> tuple[int, int, int]:
    """Return the offset of a data directory entry, and the address and size in the entry."""
    (count,) = struct.unpack_from("<I", data, optional + 108)
    if index >= count:
        return 0, 0, 0
    entry = optional + _OPTIONAL_SIZE + index * DIRECTORY.size
    address, size = DIRECTORY.unpack_from(data, entry)
    return entry, address, size


def _parse_sections(data: bytes, table: int, *, count: int, size: int) -> tuple[PeSection, ...]:
    found = []
    for index in range(count):
        name, virtual_size, address, raw_size, offset, *_ = SECTION_HEADER.unpack_from(
            data, table + index * SECTION_HEADER.size
        )
        text = name.rstrip(b"\0").decode("ascii")
        if raw_size and offset + raw_size > size:
            raise ValueError(f"section {text} ends at byte {offset + raw_size} of {size}")
        found.append(PeSection(text, offset, raw_size, address, virtual_size))
    if not any(section.raw_size for section in found):
        raise ValueError("no section has data")
    return tuple(found)
