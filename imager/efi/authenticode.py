"""Authenticode: split and sign EFI binaries.

Microsoft's "Windows Authenticode Portable Executable Signature Format" (2008) and UEFI 2.10,
32.2.2. A signature is PKCS #7 SignedData over SpcIndirectDataContent, which holds the SHA-256 of
the image without its checksum, the certificate table's entry in the headers, and the certificate
table itself, which is the end of the file. Images are not loaded into memory: one pass computes
the digest, another one the checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from imager.content.extents import Content
from imager.content.reading import hash_content, iterate_content, read_content
from imager.efi.errors import InvalidEfiBinaryError
from imager.efi.pe import DIRECTORY, SIZE_LIMIT, PeHeaders, content_headers
from imager.efi.signer import Signer
from imager.support.errors import UnsupportedError
from imager.support.units import align_up

SPC_INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"
_ALIGNMENT = 8
_CHECKSUM = struct.Struct("<I")
_CERTIFICATE = struct.Struct("<IHH")
_REVISION, _PKCS7 = 0x0200, 0x0002
_CARRY = 0xFFFF
# A signature takes about 2 KiB.
_TABLE_LIMIT = 1 << 20
_SIGNATURES_LIMIT = 32


@dataclass(frozen=True, slots=True)
class SplitImage:
    """An EFI binary, split into image and signatures.

    `image` is the file without its certificate table, padded to 8 bytes. `table` is the
    certificate table, `signatures` are the PKCS #7 structures in it.
    """

    headers: PeHeaders
    image: Content
    table: bytes
    signatures: tuple[bytes, ...]

    def digest(self, hash_name: str = "sha256") -> bytes:
        """Return the Authenticode digest of the image, which is read completely."""
        return hash_content(Content.concat(_hashed(self.headers, self.image)), hash_name)


def split_image(content: Content, *, name: str = "the EFI binary") -> SplitImage:
    """Split the PE32+ file `content` into image and signatures; `name` is for messages.

    Raises InputError if it is not a PE32+ file or its certificate table is damaged,
    UnsupportedError if it has bytes between sections, which Authenticode does not protect.
    """
    headers = content_headers(content, name=name)
    table = headers.certificates
    end = table.offset if table.size else content.size
    _check_sections(headers, end, name)
    if not table.size:
        return SplitImage(headers, content.padded(align_up(end, _ALIGNMENT)), b"", ())
    if end % _ALIGNMENT or end + table.size != content.size or table.size > _TABLE_LIMIT:
        raise InvalidEfiBinaryError(
            f"{name}: the certificate table is damaged, or not at the end of the file"
        )
    data = read_content(content.slice(end, table.size))
    return SplitImage(headers, content.slice(0, end), data, tuple(_signatures(data, name)))


def _check_sections(headers: PeHeaders, end: int, name: str) -> None:
    if not headers.certificates.entry:
        raise UnsupportedError(f"{name}: the headers have no entry for signatures")
    if not headers.table_end <= headers.header_size <= end:
        raise InvalidEfiBinaryError(f"{name}: the size of the headers is wrong")
    sections = sorted((s.offset, s.offset + s.raw_size) for s in headers.sections if s.raw_size)
    for (_, before), (start, _) in pairwise([(0, headers.header_size), *sections]):
        if start < before:
            raise InvalidEfiBinaryError(f"{name}: sections overlap at byte {start}")
        if start > before:
            raise UnsupportedError(
                f"{name}: the bytes from {before} to {start} are in no section, so a signature "
                "would not protect them",
                hint="use a build that is linked without gaps between sections",
            )
    if sections[-1][1] > end:
        raise InvalidEfiBinaryError(f"{name}: the certificate table overlaps the sections")


def _hashed(headers: PeHeaders, image: Content) -> tuple[Content, Content, Content]:
    """Return the hashed parts: all but the checksum and the certificate table's entry."""
    checksum, entry = headers.checksum + _CHECKSUM.size, headers.certificates.entry
    rest = entry + DIRECTORY.size
    return (
        image.slice(0, headers.checksum),
        image.slice(checksum, entry - checksum),
        image.slice(rest, image.size - rest),
    )


def _signatures(table: bytes, name: str) -> Iterator[bytes]:
    """Yield the signatures of a certificate table (UEFI 2.10, 32.2.4.1: WIN_CERTIFICATE)."""
    damaged = InvalidEfiBinaryError(f"{name}: the certificate table is damaged")
    position = count = 0
    while position < len(table):
        count += 1
        if len(table) - position < _CERTIFICATE.size or count > _SIGNATURES_LIMIT:
            raise damaged
        size, revision, kind = _CERTIFICATE.unpack_from(table, position)
        end = position + align_up(size, _ALIGNMENT)
        if size <= _CERTIFICATE.size or end > len(table) or any(table[position + size : end]):
            raise damaged
        if (revision, kind) != (_REVISION, _PKCS7):
            raise UnsupportedError(
                f"{name}: the certificate table has a signature that is not PKCS #7"
            )
        yield table[position + _CERTIFICATE.size : position + size]
        position = end


def sign_pe(content: Content, signer: Signer, *, name: str = "the EFI binary") -> Content:
    """Sign the PE32+ file `content` with the key of `signer`; `name` is for messages.

    Existing signatures are kept before the new one, as with sbsign: firmware needs one signature
    that it trusts. An identical signature is not added again. Signatures contain no time, so the
    same key and content give the same bytes. Raises like `split_image`.
    """
    from imager.efi.pkcs7 import sign_attached
    from imager.efi.spc import indirect_data

    split = split_image(content, name=name)
    signature = sign_attached(SPC_INDIRECT_DATA, indirect_data(split.digest()), signer)
    if signature in split.signatures:
        return content
    table = split.table + _certificate(signature)
    if split.image.size + len(table) >= SIZE_LIMIT:
        raise UnsupportedError(f"{name}: the signed file would have 4 GiB or more")
    return _joined(split, table)


def _certificate(signature: bytes) -> bytes:
    size = _CERTIFICATE.size + len(signature)
    entry = _CERTIFICATE.pack(size, _REVISION, _PKCS7) + signature
    return entry.ljust(align_up(size, _ALIGNMENT), b"\0")


def _joined(split: SplitImage, table: bytes) -> Content:
    before, between, rest = _hashed(split.headers, split.image)
    entry = Content.of_bytes(DIRECTORY.pack(split.image.size, len(table)))
    behind = (between, entry, rest, Content.of_bytes(table))
    unsummed = Content.concat([before, Content(_CHECKSUM.size), *behind])
    checksum = Content.of_bytes(_CHECKSUM.pack(image_checksum(unsummed)))
    return Content.concat([before, checksum, *behind])


def image_checksum(content: Content) -> int:
    """Return the PE checksum of an image whose checksum field is zero.

    It is the sum of 16-bit words with end-around carry (as in imagehlp's CheckSumMappedFile and
    sbsign), plus the size in bytes. A word's weight modulo 65535 is 1.
    """
    total = position = 0
    for piece in iterate_content(content):
        if isinstance(piece, int):
            position += piece
            continue
        value = int.from_bytes(piece, "little") << (position % 2 * 8)
        # A sum with end-around carry is 0 only if all words are 0; other multiples give 65535.
        total = (total + value - 1) % _CARRY + 1 if total + value else 0
        position += len(piece)
    return (total + content.size) % (1 << 32)
