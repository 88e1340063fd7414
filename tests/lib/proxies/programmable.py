"""A proxy in this process: before one server, or for whatever a client names, tunnels included.

It passes on what is said unless a test tells it otherwise, as `Programmable` has it: it remembers,
answers itself, cuts what is sent and what comes back, holds and changes.
"""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.lib.servers.messages import NO_ANSWER, Answer, Exchange
from tests.lib.servers.programmable import Programmable

_TIMEOUT = 20.0
# Seconds in which the server takes what it got of a request that breaks off.
_SETTLE = 0.2
# They are for one connection (RFC 9110, section 7.6.1), or for the proxy.
_HOP = frozenset(
    {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "proxy-authorization"}
)


@dataclass
class Proxy(Programmable):
    """A proxy before the server `upstream` (host:port), or for any if that is empty."""

    upstream: str = ""

    def right(self, exchange: Exchange) -> Answer:
        request = exchange.request
        if request.method == "CONNECT":
            return _connect(request.target)
        parts = urlsplit(request.target)
        connection = http.client.HTTPConnection(self.upstream or parts.netloc, timeout=_TIMEOUT)
        with contextlib.closing(connection):
            _pass_on(exchange, parts._replace(scheme="", netloc="").geturl(), connection)
            if exchange.broken:
                time.sleep(_SETTLE)
                return NO_ANSWER
            with connection.getresponse() as response:
                return _received(response)


@contextlib.contextmanager
def running_proxy(
    upstream: str = "", *, limit: Callable[[], int | None] = lambda: None
) -> Iterator[Proxy]:
    """Run a proxy until the context is left.

    `limit` is asked for each new connection after how many bytes of answers it is to end.
    """
    proxy = Proxy(upstream=upstream, limit=limit)
    with proxy.running():
        yield proxy


def _pass_on(exchange: Exchange, target: str, connection: http.client.HTTPConnection) -> None:
    """Send a request on, or as much of it as there is."""
    request = exchange.request
    connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.items():
        if name not in _HOP:
            connection.putheader(name, value)
    connection.endheaders()
    if exchange.length:
        connection.send(exchange.take())


def _received(response: http.client.HTTPResponse) -> Answer:
    headers: dict[str, list[str]] = {}
    for name, value in response.getheaders():
        if name.lower() not in _HOP:
            headers.setdefault(name, []).append(value)
    return Answer(response.status, response.read(), headers)


def _connect(target: str) -> Answer:
    """Open a tunnel; what is said in it is not looked at."""
    host, _, port = target.rpartition(":")
    there = socket.create_connection((host, int(port)), timeout=_TIMEOUT)

    def tunnel(here: socket.socket) -> None:
        with there:
            _tunnel(here, there)

    return Answer(then=tunnel)


def _tunnel(here: socket.socket, there: socket.socket) -> None:
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(here, selectors.EVENT_READ, (here, there))
        selector.register(there, selectors.EVENT_READ, (there, here))
        while ready := selector.select(_TIMEOUT):
            for key, _ in ready:
                source, target = key.data
                if not (data := source.recv(1 << 16)):
                    return
                target.sendall(data)
