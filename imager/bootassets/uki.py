"""Unified Kernel Images: kernel, initramfs and command line as sections behind a UEFI stub.

UAPI group's specification (https://uapi-group.org/specifications/specs/unified_kernel_image/) and
systemd-stub(7). Only the stub (about 100 KB) is read; kernel and initramfs stay where they are, as
extents. A section's VirtualSize is the exact size of its contents, since that is what the stub
measures into the TPM (systemd-measure(1)).
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imager.bootassets.pe import SECTION_HEADER, PeHeaders, read_headers
from imager.errors import InputError, UnsupportedError
from imager.extents import Content
from imager.units import align_up

_STUB_LIMIT = 16 << 20
_SIZE_LIMIT = 1 << 32
# IMAGE_SCN_CNT_INITIALIZED_DATA and IMAGE_SCN_MEM_READ
_CHARACTERISTICS = 0x4000_0040
_NAME = re.compile(r"\.[A-Za-z0-9_]{1,7}", re.ASCII)
_PROFILE = ".profile"
_NOTHING = Content(0)
_PLAIN = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_BANNER = re.compile(rb"Linux version ([0-9][!-~]{0,63}) ")
_RELEASE = re.compile(rb"([0-9][!-~]{0,63})[ \0]")


@dataclass(frozen=True, slots=True)
class Section:
    """A section to add: `name` is a dot and at most seven letters or digits."""

    name: str
    content: Content


@dataclass(frozen=True, slots=True)
class _Placed:
    """A section at byte `offset` of the file, where it takes `raw_size`, and at its address."""

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
    """Return the UEFI application that is `stub` with `sections` added in their order.

    The stub's symbol table is left out, and its headers grow where they have no room. Raises
    InputError for a file that is not a PE32+ stub and for a section that is empty,
    UnsupportedError for a stub that is signed or cannot take the sections, ValueError for a bad
    name or one that comes twice (in one profile: `.profile` begins another).
    """
    headers = read_headers(stub)
    _check_stub(stub, headers)
    _check_sections(stub, headers, sections)
    table_end = headers.table_end + len(sections) * SECTION_HEADER.size
    shift = align_up(max(table_end - headers.first_data, 0), headers.file_alignment)
    _check_room(stub, headers, header_end=table_end, shift=shift)
    placed = tuple(_place(headers, sections, shift=shift))
    if any(max(each.end, each.virtual_end) >= _SIZE_LIMIT for each in placed):
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
        raise InputError(f"{stub}: {headers.data_end} bytes is too large for a UEFI stub")
    if headers.signed:
        raise UnsupportedError(
            f"{stub}: the stub is signed, and adding to it would break the signature",
            hint="give the unsigned stub; the finished image is what gets signed",
        )


def _check_sections(stub: Path, headers: PeHeaders, sections: Sequence[Section]) -> None:
    own = {section.name for section in headers.sections}
    seen = set(own)
    for section in sections:
        if not _NAME.fullmatch(section.name):
            raise ValueError(f"{section.name!r} is not a section name")
        if not section.content.size:
            raise InputError(f"{stub}: there is nothing to put into section {section.name}")
        if section.name == _PROFILE:
            seen = set(own)
        elif section.name in seen:
            raise ValueError(f"section {section.name} comes twice")
        seen.add(section.name)


def _check_room(stub: Path, headers: PeHeaders, *, header_end: int, shift: int) -> None:
    lowest = min(section.virtual_address for section in headers.sections)
    # A debug directory holds file offsets, which a shift would have to follow.
    if align_up(header_end, headers.file_alignment) > lowest or (shift and headers.debug):
        raise UnsupportedError(
            f"{stub}: the headers have no room for more sections",
            hint="use the stub of another systemd release",
        )


def _place(headers: PeHeaders, sections: Sequence[Section], *, shift: int) -> Iterator[_Placed]:
    offset = align_up(headers.data_end + shift, headers.file_alignment)
    address = align_up(headers.virtual_end, headers.section_alignment)
    for section in sections:
        raw_size = align_up(section.content.size, headers.file_alignment)
        yield _Placed(section, offset, raw_size, address)
        offset += raw_size
        address = align_up(address + section.content.size, headers.section_alignment)


def _patched_stub(
    stub: Path, headers: PeHeaders, placed: Sequence[_Placed], *, shift: int
) -> bytes:
    """Return the stub up to the end of its sections, with `placed` entered into its headers.

    What lies behind the sections is symbols, which an image has no use for.
    """
    import pefile

    data = stub.read_bytes()[: headers.data_end]
    if any(data[headers.table_end : headers.first_data]):
        raise UnsupportedError(f"{stub}: there are data behind the section table")
    try:
        patched = _patched_headers(data, headers, placed, shift=shift)
    except (pefile.PEFormatError, struct.error) as error:
        raise InputError(f"{stub}: not a sound PE32+ executable: {error}") from error
    head = patched[: headers.table_end] + b"".join(each.header for each in placed)
    return head.ljust(headers.first_data + shift, b"\0") + patched[headers.first_data :]


def _patched_headers(
    data: bytes, headers: PeHeaders, placed: Sequence[_Placed], *, shift: int
) -> bytes:
    import pefile

    image = pefile.PE(data=data, fast_load=True)
    image.FILE_HEADER.NumberOfSections += len(placed)
    image.FILE_HEADER.PointerToSymbolTable = image.FILE_HEADER.NumberOfSymbols = 0
    optional = image.OPTIONAL_HEADER
    header_end = headers.table_end + len(placed) * SECTION_HEADER.size
    virtual_end = max([headers.virtual_end, *(each.virtual_end for each in placed)])
    optional.SizeOfInitializedData += sum(each.raw_size for each in placed)
    optional.SizeOfImage = align_up(virtual_end, headers.section_alignment)
    optional.SizeOfHeaders = max(
        optional.SizeOfHeaders, align_up(header_end, headers.file_alignment)
    )
    optional.CheckSum = 0
    for section in image.sections:
        section.PointerToRawData += shift if section.SizeOfRawData else 0
    return bytes(image.write())


@dataclass(frozen=True, slots=True)
class UkiParts:
    """What a UKI is made of; an empty `uname`, `splash` or `pcr_public_key` (PEM) is left out."""

    os_release: str
    cmdline: str
    kernel: Content
    initramfs: Content
    uname: str = ""
    splash: Content = _NOTHING
    pcr_public_key: bytes = b""


def uki_sections(parts: UkiParts) -> tuple[Section, ...]:
    """Return the sections of a UKI in the order in which Talos has them; `.sbat` is the stub's."""
    sections = (
        Section(".osrel", Content.of_bytes(parts.os_release.encode())),
        Section(".cmdline", Content.of_bytes(parts.cmdline.encode())),
        Section(".uname", Content.of_bytes(parts.uname.encode())),
        Section(".splash", parts.splash),
        Section(".pcrpkey", Content.of_bytes(parts.pcr_public_key)),
        Section(".linux", parts.kernel),
        Section(".initrd", parts.initramfs),
    )
    optional = {".uname", ".splash", ".pcrpkey"}
    return tuple(each for each in sections if each.content.size or each.name not in optional)


def os_release(*, version: str, name: str = "Talos", os_id: str = "talos") -> str:
    """Return an os-release(5) file, which boot menus read for a title and for sorting.

    Raises InputError for a value with control characters.
    """
    fields = {
        "NAME": name,
        "ID": os_id,
        "VERSION_ID": version,
        "PRETTY_NAME": f"{name} ({version})",
    }
    return "".join(f"{key}={_quoted(value)}\n" for key, value in fields.items())


def _quoted(value: str) -> str:
    if not value.isprintable():
        raise InputError(f"{value!r} has characters that os-release cannot hold")
    if _PLAIN.fullmatch(value):
        return value
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def kernel_version(vmlinuz: Path) -> str:
    """Return the release (`uname -r`) of the kernel image `vmlinuz`.

    An x86 bzImage names it in its header (https://docs.kernel.org/arch/x86/boot.html, field
    kernel_version), an uncompressed arm64 Image has it in its banner. Of another image, such as a
    compressed EFI one, it is not known: "". Raises InputError for a bzImage whose header lies.
    """
    try:
        with vmlinuz.open("rb") as file:
            head = file.read(64 << 10)
            if head[0x202:0x206] == b"HdrS":
                return _bzimage_version(vmlinuz, head)
            if head[0x38:0x3C] != b"ARM\x64":
                return ""
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
                banner = _BANNER.search(image)
                return banner[1].decode("ascii") if banner else ""
    except OSError as error:
        raise InputError(f"{vmlinuz}: cannot be read: {error.strerror}") from error


def _bzimage_version(vmlinuz: Path, head: bytes) -> str:
    start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    release = _RELEASE.match(head, start)
    if release is None:
        raise InputError(
            f"{vmlinuz}: the kernel's header does not point at its version",
            hint="the file may be truncated or damaged",
        )
    return release[1].decode("ascii")
