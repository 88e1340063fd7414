"""Read an initramfs: cpio archives after each other, compressed or not, as the kernel does.

Specification: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. A compressed part
is decompressed to a temporary file, so that what is in it can be read in place.
"""

from __future__ import annotations

import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import zstandard

from imager.bootassets.errors import BootAssetError
from imager.content.compression import LARGEST_WINDOW, MAGIC
from imager.content.extents import Codec
from imager.content.tree import Tree
from imager.formats.cpio import MAGICS, open_cpio

_XZ_MAGIC = b"\xfd7zXZ\0"
_MOST_MEMORY = 512 << 20
# At most 128 MiB come out of so much: zstd's blocks of one repeated byte are the densest.
_PIECE = 4 << 10
_LARGEST = 8 << 30
_ZEROS = bytes(_PIECE)
_ERRORS = (lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError)


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _xz() -> _Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)


def _gzip() -> _Decoder:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _zstd() -> _Decoder:
    return zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj()


_DECODERS: Mapping[bytes, Callable[[], _Decoder]] = {
    _XZ_MAGIC: _xz,
    MAGIC[Codec.GZIP]: _gzip,
    MAGIC[Codec.ZSTD]: _zstd,
}


def initramfs_trees(path: Path, scratch: Path) -> Iterator[Tree]:
    """Yield the tree of each archive in an initramfs.

    Its files are ranges of `path`, or of files that are made in the folder `scratch`. Raises
    BootAssetError or DamagedVolumeError.
    """
    size = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        while (position := _after_zeros(file.fileno(), position)) < size:
            head = os.pread(file.fileno(), len(_XZ_MAGIC), position)
            decoder = None if head in MAGICS else _decoder(path, head, position)
            if decoder is None:
                opened = open_cpio(path, offset=position)
                yield opened.tree
                position = opened.end
            else:
                plain = scratch / f"archive{position}"
                position = _decompressed(path, position, decoder, plain)
                yield from _plain_trees(plain)


def _plain_trees(path: Path) -> Iterator[Tree]:
    position, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while (position := _after_zeros(file.fileno(), position)) < size:
            opened = open_cpio(path, offset=position)
            yield opened.tree
            position = opened.end


def _after_zeros(descriptor: int, position: int) -> int:
    """Return the position of the next byte that is not zero, or the end of the file."""
    while (piece := os.pread(descriptor, _PIECE, position)) and piece == _ZEROS[: len(piece)]:
        position += len(piece)
    return position + len(piece) - len(piece.lstrip(b"\0"))


def _decoder(path: Path, head: bytes, position: int) -> _Decoder:
    for magic, decoder in _DECODERS.items():
        if head.startswith(magic):
            return decoder()
    raise BootAssetError(
        f"{path}: at byte {position} there is neither a cpio archive nor a compression that this"
        " program knows",
        hint="the initramfs must be compressed by xz, gzip or zstd, as Talos's is",
    )


def _decompressed(path: Path, position: int, decoder: _Decoder, target: Path) -> int:
    """Decompress one stream to a new file; return where the stream ends."""
    written = 0
    try:
        with path.open("rb") as file, target.open("xb") as output:
            file.seek(position)
            while not decoder.eof:
                piece = file.read(_PIECE)
                if not piece:
                    raise EOFError("it is cut off")
                written += output.write(decoder.decompress(piece))
                if written > _LARGEST:
                    raise EOFError(f"it has more than {_LARGEST} bytes")
            return file.tell() - len(decoder.unused_data)
    except _ERRORS as error:
        raise BootAssetError(
            f"{path} is damaged in the part at byte {position}: {error}",
            hint="run `imager assets fetch`, or copy it again",
        ) from error
