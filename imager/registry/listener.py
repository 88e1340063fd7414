"""The HTTP server of the registry, on aiohttp, and its limits.

The size and time of a request's head are limited; the number of connections is limited by the
number of files that the process may open.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp.web import BaseRequest, RequestHandler, Server, ServerRunner, StreamResponse, TCPSite

from imager.registry.address import Address
from imager.support.errors import HostError
from imager.support.reporter import Reporter

# Seconds to finish responses at shutdown.
_GRACE = 10
_BACKLOG = 4096
# The socket and the file being sent, and some descriptors for everything else.
_DESCRIPTORS_PER_CONNECTION = 2
_OTHER_DESCRIPTORS = 128
_MOST_CONNECTIONS = 50_000
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)

Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]


class _BoundedServer(Server):
    """Rejects connections above the limit."""

    def __init__(self, handler: Handler, most: int, **options: Any) -> None:
        super().__init__(handler, **options)
        self._most = most

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._most:
            transport.write(_BUSY)
            transport.close()


class _Telling(logging.Handler):
    """Reports the library's log messages as single lines."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        cause = f": {error!r}" if error else ""
        self._reporter.warn(f"{record.getMessage()}{cause}".replace("\n", " "))


@asynccontextmanager
async def listening(
    handler: Handler,
    address: Address,
    *,
    tls: ssl.SSLContext | None,
    patience: float,
    reporter: Reporter,
) -> AsyncIterator[Address]:
    """Pass requests to `handler` while the block runs; yields the address with its actual port.

    `patience` is the idle timeout in seconds. Raises HostError when it cannot listen on `address`.
    """
    # Failures between requests, such as a client that does not use TLS, are single lines too.
    asyncio.get_running_loop().set_exception_handler(
        lambda _, told: reporter.warn(f"{told['message']}: {told.get('exception')!r}")
    )
    logger = logging.Logger("server")
    logger.addHandler(_Telling(reporter))
    server = _BoundedServer(
        handler,
        _most_connections(),
        keepalive_timeout=patience,
        access_log=None,
        logger=logger,
        tcp_keepalive=True,
    )
    runner = ServerRunner(server, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        yield await _start(runner, address, tls)
    finally:
        await runner.cleanup()


async def _start(runner: ServerRunner, address: Address, tls: ssl.SSLContext | None) -> Address:
    site = TCPSite(
        runner,
        address.host or None,
        address.port,
        ssl_context=tls,
        backlog=_BACKLOG,
        reuse_address=True,
    )
    try:
        await site.start()
    except OSError as error:
        raise _cannot_listen(address, error) from error
    return Address(address.host, site.port)


def _cannot_listen(address: Address, error: OSError) -> HostError:
    hints = {
        errno.EADDRINUSE: "stop the program that uses it (`ss -ltnp` lists it), or choose another "
        "--address",
        errno.EADDRNOTAVAIL: "no interface has this address: `ip address` lists all of them",
        errno.EACCES: "ports below 1024 need privileges: choose a higher port with --address",
    }
    reason = (error.strerror or str(error)).partition(": ")[2] if error.errno else str(error)
    return HostError(
        f"cannot listen on {address}: {reason or error.strerror}",
        hint=hints.get(error.errno or 0, "choose another address with --address"),
    )


def _most_connections() -> int:
    """Return the connection limit, after raising the limit of open files as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS * _DESCRIPTORS_PER_CONNECTION + _OTHER_DESCRIPTORS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    limit = wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)
    return max((limit - _OTHER_DESCRIPTORS) // _DESCRIPTORS_PER_CONNECTION, 1)
