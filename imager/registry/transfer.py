"""Sends the bytes of blobs from file to socket with sendfile, or through TLS."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
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
        async with asyncio.timeout(channel.patience) as limit, running(_extend(channel, limit)):
            await _send(channel, blob, start, length)
    except TimeoutError as error:
        channel.transport.abort()
        raise ConnectionAbortedError("the client has stalled") from error
    except OSError as error:
        channel.transport.abort()
        raise ConnectionAbortedError(error.strerror or str(error)) from error


async def _extend(channel: Channel, limit: asyncio.Timeout) -> None:
    """Extend the timeout `limit` whenever the client has acknowledged bytes."""
    taken = _taken(channel.transport)
    while True:
        await asyncio.sleep(channel.patience / _LOOKS)
        before, taken = taken, _taken(channel.transport)
        if taken != before:
            limit.reschedule(asyncio.get_running_loop().time() + channel.patience)


@asynccontextmanager
async def running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` in a task until the end of the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


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
        raise ConnectionAbortedError("the client has disconnected")
    sent = await asyncio.get_running_loop().sendfile(transport, file, offset, length)
    if sent != length:
        raise ConnectionAbortedError("the file was truncated")


async def _send_zeros(channel: Channel, count: int) -> None:
    for piece in zeros(count):
        await channel.writer.write(piece)
