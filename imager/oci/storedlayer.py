"""Layers as an archive stores them, plain or compressed; hashes both forms in one pass."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from typing import TYPE_CHECKING, Protocol

import zstandard

from imager.content.compression import codec_of
from imager.content.extents import Codec, Content
from imager.content.reading import CHUNK, iterate_bytes
from imager.oci.digest import Digest
from imager.oci.errors import InvalidImageError
from imager.oci.manifest import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from imager.support.errors import OutputError

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _HashedContent(io.RawIOBase):
    """A content as a stream that hashes the bytes read from it."""

    def __init__(self, content: Content) -> None:
        super().__init__()
        self._pieces = iterate_bytes(content)
        self._rest = b""
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        self._rest = self._rest or next(self._pieces, b"")
        data, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(data)] = data
        self.hash.update(data)
        return len(data)


def stored_layer(content: Content, diff_id: str, where: str) -> Descriptor:
    """Return the descriptor of a layer, after checking it against the configuration's diff id."""
    try:
        blob, found = _hashed(content)
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise InvalidImageError(f"{where} does not decompress: {error}") from error
    except OSError as error:
        raise OutputError(f"cannot read {where}: {error.strerror}") from error
    if str(found) != diff_id:
        raise InvalidImageError(
            f"{where} is not the layer of its configuration: expected {diff_id}, got {found}",
            hint="the archive is damaged or was changed: save it again",
        )
    return blob


def _hashed(content: Content) -> tuple[Descriptor, Digest]:
    """Return the layer's descriptor and the digest of its decompressed bytes, in one pass."""
    stored = _HashedContent(content)
    reader: io.BufferedReader = io.BufferedReader(stored, CHUNK)
    media_type, stream = _opened(reader)
    plain = hashlib.sha256()
    while data := stream.read(CHUNK):
        plain.update(data)
    # A decompressor may stop before the end of the stored bytes.
    while reader.read(CHUNK):
        pass
    blob = Descriptor(media_type, Digest(stored.hash.hexdigest()), content.size)
    return blob, Digest(plain.hexdigest())


def _opened(stored: io.BufferedReader) -> tuple[str, _Stream]:
    # Docker's containerd store saves layers compressed, as pulled from the registry.
    codec = codec_of(stored.peek(4))
    if codec is Codec.GZIP:
        return OCI_LAYER_GZIP, gzip.GzipFile(fileobj=stored)
    if codec is Codec.ZSTD:
        reader = zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True)
        return OCI_LAYER_ZSTD, reader
    return OCI_LAYER, stored
