"""The HTTP server under the registry, aiohttp's: connections and their bounds.

What a client may send before it has asked for anything is bounded in size and in time; how many
there may be, by the files that the process may open.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp.web import BaseRequest, RequestHandler, Server, ServerRunner, StreamResponse, TCPSite

from imager.registry.address import Address
from imager.support.errors import HostError
from imager.support.reporter import Reporter

# Seconds for the rest of what is being sent when the server ends.
_GRACE = 10
_BACKLOG = 4096
# The socket and the file that it is sent, and some for everything else.
_DESCRIPTORS_PER_CONNECTION = 2
_OTHER_DESCRIPTORS = 128
_MOST_CONNECTIONS = 50_000
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)

Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]


class _BoundedServer(Server):
    """Turns connections away when there are too many."""

    def __init__(self, handler: Handler, most: int, **options: Any) -> None:
        super().__init__(handler, **options)
        self._most = most

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._most:
            transport.write(_BUSY)
            transport.close()


class _Telling(logging.Handler):
    """Tells the reporter, in a line, what the library logs."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        cause = f": {error!r}" if error else ""
        self._reporter.warn(f"{record.getMessage()}{cause}".replace("\n", " "))


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen, with TLS or without; `patience` is how many seconds a client may be idle."""

    address: Address
    tls: ssl.SSLContext | None
    patience: float

    @asynccontextmanager
    async def listening(self, handler: Handler, reporter: Reporter) -> AsyncIterator[Address]:
        """Have `handler` take requests while the block runs; yields where, the port not 0.

        Raises HostError when nothing can listen there.
        """
        _tell_of_failures(reporter)
        logger = logging.Logger("server")
        logger.addHandler(_Telling(reporter))
        server = _BoundedServer(
            handler,
            _most_connections(),
            keepalive_timeout=self.patience,
            access_log=None,
            logger=logger,
            tcp_keepalive=True,
        )
        runner = ServerRunner(server, shutdown_timeout=_GRACE)
        await runner.setup()
        try:
            yield await self._start(runner)
        finally:
            await runner.cleanup()

    async def _start(self, runner: ServerRunner) -> Address:
        address = self.address
        site = TCPSite(
            runner,
            address.host or None,
            address.port,
            ssl_context=self.tls,
            backlog=_BACKLOG,
            reuse_address=True,
        )
        try:
            await site.start()
        except OSError as error:
            raise _cannot_listen(address, error) from error
        return Address(address.host, site.port)


def _tell_of_failures(reporter: Reporter) -> None:
    """Have what goes wrong between requests told in a line, such as a client that is no TLS."""
    asyncio.get_running_loop().set_exception_handler(
        lambda _, told: reporter.warn(f"{told['message']}: {told.get('exception')!r}")
    )


def _cannot_listen(address: Address, error: OSError) -> HostError:
    hints = {
        errno.EADDRINUSE: "stop what uses it (`ss -ltnp` lists it), or choose another --address",
        errno.EADDRNOTAVAIL: "no interface has it: `ip address` lists those that there are",
        errno.EACCES: "ports below 1024 need a privilege: choose a higher one with --address",
    }
    reason = (error.strerror or str(error)).partition(": ")[2] if error.errno else str(error)
    return HostError(
        f"cannot listen on {address}: {reason or error.strerror}",
        hint=hints.get(error.errno or 0, "give another address by --address"),
    )


def _most_connections() -> int:
    """Return how many connections there may be, with as many open files as are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS * _DESCRIPTORS_PER_CONNECTION + _OTHER_DESCRIPTORS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    limit = wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)
    return max((limit - _OTHER_DESCRIPTORS) // _DESCRIPTORS_PER_CONNECTION, 1)
