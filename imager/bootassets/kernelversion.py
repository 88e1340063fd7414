"""Read the release of a kernel (`uname -r`) from its image.

An x86 bzImage has it in its header (https://docs.kernel.org/arch/x86/boot.html, field
kernel_version), an arm64 Image in its banner (https://docs.kernel.org/arch/arm64/booting.html), and
a compressed EFI image (CONFIG_EFI_ZBOOT) contains such an Image: Linux,
drivers/firmware/efi/libstub/zboot-header.S.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

import zstandard

from imager.bootassets.errors import BootAssetError
from imager.content.compression import LARGEST_WINDOW
from imager.content.extents import Content
from imager.content.random_access import ContentReader, as_content

_HEAD = 64 << 10
_BZIMAGE, _ARM64, _ZBOOT = (0x202, b"HdrS"), (0x38, b"ARM\x64"), (0x04, b"zimg")
_ZBOOT_HEADER = struct.Struct("<II8x32s")
_LARGEST_PAYLOAD = 256 << 20
_LARGEST_IMAGE = 512 << 20
_CHUNK = 1 << 20
_BANNER = re.compile(rb"Linux version ([0-9][!-~]{0,63}) ")
_LONGEST_BANNER = 80
_RELEASE = re.compile(rb"([0-9][!-~]{0,63})[ \0]")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _zstd(payload: BinaryIO) -> _Readable:
    return zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).stream_reader(payload)


# The names in the kernel's Makefile.zboot; its other formats have no decoder here.
_DECODERS: Mapping[bytes, Callable[[BinaryIO], _Readable]] = {
    b"gzip": gzip.open,
    b"zstd": _zstd,
    b"xzkern": lzma.LZMAFile,
    b"lzma": lzma.LZMAFile,
}


def kernel_version(source: Path | Content, *, name: str = "the kernel") -> str:
    """Return the release (`uname -r`) of a kernel image; `name` of a content is for messages.

    Returns "" for another kind of image or an unusual compression. Holds a payload of at most
    256 MiB in memory, but not its decompressed contents. Raises InputError for an image with an
    invalid header, or one that cannot be decompressed.
    """
    name = str(source) if isinstance(source, Path) else name
    try:
        with ContentReader(as_content(source)) as image:
            head = image.read(0, _HEAD)
            if _is(head, _BZIMAGE):
                return _bzimage_version(name, head)
            if _is(head, _ARM64):
                return _search(image.read(at, _CHUNK) for at in range(0, image.size, _CHUNK))
            if _is(head, _ZBOOT) and len(head) >= 8 + _ZBOOT_HEADER.size:
                return _zboot_version(name, head, image)
            return ""
    except OSError as error:
        raise BootAssetError(f"{name}: cannot be read: {error.strerror}") from error


def _is(head: bytes, magic: tuple[int, bytes]) -> bool:
    return head.startswith(magic[1], magic[0])


def _bzimage_version(name: str, head: bytes) -> str:
    start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    release = _RELEASE.match(head, start)
    if release is None:
        raise BootAssetError(
            f"{name}: the kernel's header does not point to its version",
            hint="the file may be truncated or damaged",
        )
    return release[1].decode("ascii")


def _zboot_version(name: str, head: bytes, image: ContentReader) -> str:
    offset, size, compression = _ZBOOT_HEADER.unpack_from(head, 8)
    decoder = _DECODERS.get(compression.partition(b"\0")[0])
    if decoder is None or size > _LARGEST_PAYLOAD:
        return ""
    payload = image.read(offset, size)
    try:
        if len(payload) < size:
            raise EOFError("it is truncated")
        plain = decoder(io.BytesIO(payload))
        return _search(iter(lambda: plain.read(_CHUNK), b""))
    # GzipFile's own error is an OSError, too.
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise BootAssetError(
            f"{name}: the kernel cannot be decompressed: {error}",
            hint="the file may be truncated or damaged",
        ) from error


def _search(pieces: Iterable[bytes]) -> str:
    """Return the release that the banner in the first 512 MiB names, or an empty string."""
    window = b""
    for piece in islice(pieces, _LARGEST_IMAGE // _CHUNK):
        window = window[-_LONGEST_BANNER:] + piece
        if found := _BANNER.search(window):
            return found[1].decode("ascii")
    return ""
