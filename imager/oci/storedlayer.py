"""Layers as an archive stores them, plain or compressed, hashed both ways in one pass."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from typing import IO, TYPE_CHECKING, Protocol

import zstandard

from imager.content.compression import MAGIC
from imager.content.extents import Codec
from imager.oci.digest import Digest
from imager.oci.manifest import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from imager.oci.source import CHUNK, LocalRange
from imager.support.errors import InputError, OutputError

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _HashedRange(io.RawIOBase):
    """A file's range as a stream that hashes what is read of it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__()
        self._file = file
        self._left = size
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        data = self._file.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        self.hash.update(data)
        return len(data)


def stored_layer(place: LocalRange, diff_id: str, where: str) -> Descriptor:
    """Return the descriptor of a layer, checked against the diff id of the configuration."""
    try:
        blob, found = _hashed(place)
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"{where} does not decompress: {error}") from error
    except OSError as error:
        raise OutputError(f"cannot read {place.path}: {error.strerror}") from error
    if str(found) != diff_id:
        raise InputError(
            f"{where} is not the layer of its configuration: expected {diff_id}, got {found}",
            hint="the archive is damaged or was changed: save it again",
        )
    return blob


def _hashed(place: LocalRange) -> tuple[Descriptor, Digest]:
    """Return the layer's descriptor and the digest of its decompressed bytes, in one pass."""
    with place.path.open("rb") as file:
        file.seek(place.offset)
        magic = file.read(4)
        file.seek(place.offset)
        stored = _HashedRange(file, place.size)
        media_type, stream = _opened(io.BufferedReader(stored, CHUNK), magic)
        plain = hashlib.sha256()
        while data := stream.read(CHUNK):
            plain.update(data)
        # A decompressor may stop before the end of what is stored.
        while stored.read(CHUNK):
            pass
    blob = Descriptor(media_type, Digest(stored.hash.hexdigest()), place.size)
    return blob, Digest(plain.hexdigest())


def _opened(stored: io.BufferedReader, magic: bytes) -> tuple[str, _Stream]:
    # Docker's containerd store saves layers as they came from the registry.
    if magic.startswith(MAGIC[Codec.GZIP]):
        return OCI_LAYER_GZIP, gzip.GzipFile(fileobj=stored)
    if magic.startswith(MAGIC[Codec.ZSTD]):
        reader = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True)
        return OCI_LAYER_ZSTD, reader
    return OCI_LAYER, stored
