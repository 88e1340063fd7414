"""Read compressed files sequentially.

gzip: RFC 1952. Zstandard: RFC 8878. xz: https://tukaani.org/xz/xz-file-format.txt. A reader returns
at most the requested number of bytes, so the consumer bounds the output of a decompression bomb.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, Self, cast

import zstandard
from zlib_ng import zlib_ng

from imager.content.extents import Codec, StreamRange
from imager.support.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAGIC = {Codec.GZIP: b"\x1f\x8b", Codec.ZSTD: b"\x28\xb5\x2f\xfd"}
# The window of `zstd --long=27` (128 MiB), the largest that zstd decompresses by default.
LARGEST_WINDOW = 1 << 27
_XZ_MAGIC = b"\xfd7zXZ\0"
_SKIP_CHUNK = 1 << 20
_READ = 128 << 10
_SKIPPABLE_FRAMES = range(0x184D2A50, 0x184D2A60)
_LONGEST_FRAME_HEADER = 18
_RLE_BLOCK = 1
# The stubs have an instance for the class.
_ZLIB_ERROR = cast("type[Exception]", zlib_ng.error)
DAMAGE = (OSError, EOFError, _ZLIB_ERROR, zstandard.ZstdError)
HINT = "it is damaged or truncated: create or copy it again"


class EarlyEndError(InputError):
    """A compressed stream is shorter than the references to it require."""


# Returns bytes of a file, given their offset and number.
Read = Callable[[int, int], bytes]


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def detect_codec(path: Path) -> Codec | None:
    """Return the compression of the file `path` by its magic bytes, or None if uncompressed."""
    with path.open("rb") as file:
        return codec_of(file.read(4))


def codec_of(head: bytes) -> Codec | None:
    """Return the compression of a stream that begins with `head`, or None if uncompressed."""
    return next((codec for codec, magic in MAGIC.items() if head.startswith(magic)), None)


def stream_codec(head: bytes) -> Codec | None:
    """Return the compression as `codec_of` does, but know xz too.

    Caches and layers are not compressed with xz: those who read them use `codec_of`.
    """
    return Codec.XZ if head.startswith(_XZ_MAGIC) else codec_of(head)


def first_bytes(head: bytes, codec: Codec, count: int) -> bytes:
    """Return the first `count` decompressed bytes of a stream that begins with `head`.

    Fewer, or none, if the head is too short or damaged. What follows the stream does not matter.
    """
    try:
        match codec:
            case Codec.GZIP:
                return zlib_ng.decompressobj(zlib_ng.MAX_WBITS | 16).decompress(head, count)
            case Codec.XZ:
                from imager.content.xz_streams import first_xz_bytes

                return first_xz_bytes(head, count)
            case Codec.ZSTD:
                return _zstd_decoder().stream_reader(head).read(count)
    except DAMAGE:
        return b""
    return b""


def _zstd_decoder() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)


class _Section(io.RawIOBase):
    """The byte range `span` of a file as a raw stream."""

    def __init__(self, file: IO[bytes], span: range) -> None:
        super().__init__()
        self._descriptor = file.fileno()
        self._position = span.start
        self._end = span.stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        size = min(len(view), self._end - self._position)
        done = os.preadv(self._descriptor, [view[:size]], self._position) if size > 0 else 0
        self._position += done
        return done


class StreamReader:
    """A sequential reader of decompressed data; `tell` counts decompressed bytes."""

    def __init__(
        self, path: Path, codec: Codec, *, start: int = 0, length: int | None = None
    ) -> None:
        """Open the stream of `length` bytes (None: up to the end) at byte `start` of the file."""
        self._path = path
        self._codec = codec
        self._file = path.open("rb")
        room = self._file.seek(0, os.SEEK_END) - start  # a device has no st_size
        self._span = range(start, start + (room if length is None else min(room, length)))
        self._stream = self._decoder()
        self._position = 0

    @classmethod
    def of(cls, source: StreamRange) -> Self:
        """Return a reader of the stream of `source`, positioned at the stream's first byte."""
        return cls(source.path, source.codec, start=source.start, length=source.length)

    def _decoder(self) -> _Readable:
        section = io.BufferedReader(_Section(self._file, self._span), _READ)
        match self._codec:
            case Codec.GZIP:
                from zlib_ng import gzip_ng  # starts slowly

                return cast("_Readable", gzip_ng.GzipNGFile(fileobj=section))  # type: ignore[no-untyped-call]
            case Codec.XZ:
                from imager.content.xz_streams import XzStreams  # a node has no liblzma

                return XzStreams(section)
            case Codec.ZSTD:
                return _zstd_decoder().stream_reader(
                    section, read_across_frames=True, closefd=False
                )
        raise ValueError(f"{self._codec.value} is a compression of blocks")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def tell(self) -> int:
        """Return the position in the decompressed stream, in bytes."""
        return self._position

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer than `size` only at the end.

        Raises InputError when the stream is truncated or invalid for its codec.
        """
        parts: list[bytes] = []
        missing = size
        while missing and (part := self._read_some(missing)):
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_some(self, size: int) -> bytes:
        try:
            part = self._stream.read(size)
        except DAMAGE as error:
            raise InputError(
                f"{self._path} is not a whole {self._codec.value} stream: {error}",
                hint=HINT,
            ) from error
        if size and not part and self._codec is Codec.ZSTD:
            self._check_zstd_end()
        self._position += len(part)
        return part

    def _check_zstd_end(self) -> None:
        """Raise InputError for a truncated stream, which the decoder does not report."""
        descriptor = self._file.fileno()
        if not _frames_are_whole(
            lambda offset, size: os.pread(descriptor, size, offset), self._span
        ):
            raise InputError(f"{self._path} is not a whole zstd stream: it is cut off", hint=HINT)

    def seek_forward(self, offset: int) -> None:
        """Skip to byte `offset` of the decompressed stream; restart if it is already past that."""
        if offset < self._position:
            self._stream = self._decoder()
            self._position = 0
        while self._position < offset:
            if not self.read(min(_SKIP_CHUNK, offset - self._position)):
                raise EarlyEndError(
                    f"{self._path} ends before byte {offset} of its contents", hint=HINT
                )


def _frames_are_whole(read: Read, span: range) -> bool:
    """Return whether the last Zstandard frame in `span` ends at its end (RFC 8878, 3.1)."""
    position = span.start
    while position < span.stop:
        position = zstd_frame_end(read, position, span.stop)
    return position == span.stop


def zstd_frame_end(read: Read, position: int, size: int, *, most: int | None = None) -> int:
    """Return where the frame at `position` ends, found by the sizes of its blocks.

    `read` takes offset and length. Returns more than `size`, the end of the file, if there is no
    whole frame, or if it has more than `most` blocks.
    """
    header = read(position, _LONGEST_FRAME_HEADER)
    if len(header) >= 8 and struct.unpack_from("<I", header)[0] in _SKIPPABLE_FRAMES:
        return position + 8 + int(struct.unpack_from("<I", header, 4)[0])
    try:
        frame = zstandard.get_frame_parameters(header)
        position += zstandard.frame_header_size(header)
    except zstandard.ZstdError:
        return size + 1
    last = False
    blocks = 0
    while not last and position < size and blocks != most:
        blocks += 1
        block = int.from_bytes(read(position, 3), "little")
        last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        position += 3 + (1 if kind == _RLE_BLOCK else length)
    return position + (4 if frame.has_checksum else 0) if last else size + 1
