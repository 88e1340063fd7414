"""Compress a layer reproducibly: equal tars give equal bytes with equal library versions."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import zstandard

from imager.content.copier import write_errors
from imager.content.extents import Codec

_CHUNK = 1 << 20
# Most blobs are already compressed, so higher levels gain nothing.
_LEVEL = 1


def compress_file(source: Path, target: Path, *, codec: Codec) -> None:
    """Compress the file `source` to the new file `target`.

    Raises HostError if the disk is full, OutputError for other read and write errors.
    """
    with write_errors(), source.open("rb") as plain, target.open("xb") as packed:
        if codec is Codec.ZSTD:
            size = source.stat().st_size
            zstandard.ZstdCompressor(level=_LEVEL, threads=-1).copy_stream(
                plain, packed, size=size, read_size=_CHUNK, write_size=_CHUNK
            )
        else:
            with gzip.GzipFile("", "wb", _LEVEL, packed, mtime=0) as stream:
                shutil.copyfileobj(plain, stream, _CHUNK)
