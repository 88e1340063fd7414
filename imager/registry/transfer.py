"""Sends the bytes of blobs from file to socket with sendfile, or through TLS."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import BinaryIO

from aiohttp.abc import AbstractStreamWriter

from imager.content.reading import zeros
from imager.registry.blobs import OpenBlob, file_place

# struct tcp_info of <linux/tcp.h>, tcpi_bytes_acked: bytes acknowledged by the peer.
_BYTES_ACKED = struct.Struct("=120xQ")
_LOOKS = 4


@dataclass(frozen=True, slots=True)
class Channel:
    """A connection for a response body; `patience` is the timeout of stalled clients in seconds."""

    transport: asyncio.Transport
    writer: AbstractStreamWriter
    patience: float


async def send_blob(channel: Channel, blob: OpenBlob, start: int, length: int) -> None:
    """Send `length` bytes of `blob` from byte `start` on.

    Raises ConnectionError, and closes the connection, when the client disconnects or stalls, and
    when a file cannot be read or has been truncated: the client must notice that bytes are missing.
    """
    try:
        async with asyncio.timeout(channel.patience) as limit:
            with _Watch(channel, limit):
                await _send(channel, blob, start, length)
    except TimeoutError as error:
        channel.transport.abort()
        raise ConnectionAbortedError("the client hangs") from error
    except OSError as error:
        channel.transport.abort()
        raise ConnectionAbortedError(error.strerror or str(error)) from error


class _Watch:
    """Extends the timeout `limit` whenever the client has acknowledged bytes."""

    def __init__(self, channel: Channel, limit: asyncio.Timeout) -> None:
        self._channel = channel
        self._limit = limit
        self._taken = _taken(channel.transport)
        self._timer = self._later()

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _later(self) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_later(self._channel.patience / _LOOKS, self._look)

    def _look(self) -> None:
        before, self._taken = self._taken, _taken(self._channel.transport)
        if self._taken != before:
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(now + self._channel.patience)
        self._timer = self._later()


def _taken(transport: asyncio.Transport) -> int:
    """Return how many bytes the peer has acknowledged in total."""
    connection = transport.get_extra_info("socket")
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
    except OSError:  # already closed
        return 0
    return int(_BYTES_ACKED.unpack(info)[0])


async def _send(channel: Channel, blob: OpenBlob, start: int, length: int) -> None:
    content = blob.content.slice(start, length)
    position = 0
    for extent in content.extents:
        await _send_zeros(channel, extent.offset - position)
        path, offset = file_place(extent)
        await _send_range(channel.transport, blob.files[path], offset, extent.length)
        position = extent.end
    await _send_zeros(channel, length - position)


async def _send_range(
    transport: asyncio.Transport, file: BinaryIO, offset: int, length: int
) -> None:
    if transport.is_closing():
        raise ConnectionAbortedError("the client has gone")
    sent = await asyncio.get_running_loop().sendfile(transport, file, offset, length)
    if sent != length:
        raise ConnectionAbortedError("the file has become shorter")


async def _send_zeros(channel: Channel, count: int) -> None:
    for piece in zeros(count):
        await channel.writer.write(piece)
