"""An HTTP server on loopback, in this process: all servers and proxies of the tests are one."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from tests.lib.servers.messages import NO_ANSWER, Answer, Exchange, Request

_METHODS = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "CONNECT")
# The most seconds for which a stalled connection is kept open.
_STALL = 5.0
_NO_BODY = frozenset({204, 304})
Answering = Callable[[Exchange], Answer]
Limit = Callable[[], int | None]


def free_port() -> int:
    """Return a loopback port that is not in use."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


class _Limited(BufferedIOBase):
    """The sending side of a connection, which ends after some bytes."""

    def __init__(self, out: Any, left: int) -> None:
        self.out, self.left = out, left

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        part = bytes(data)[: self.left]
        self.out.write(part)
        self.left -= len(part)
        if not self.left:
            raise ConnectionAbortedError("cut by the test")
        return len(part)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are sent apart: the second would wait for the first to be acknowledged.
    disable_nagle_algorithm = True
    answering: Answering
    limit: Limit
    stop: threading.Event

    def setup(self) -> None:
        super().setup()
        if (limit := type(self).limit()) is not None:
            self.wfile = _Limited(self.wfile, limit)

    def handle_any(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        assert "transfer-encoding" not in headers, "a body without a length cannot be read here"
        exchange = Exchange(
            Request(self.command, self.path, headers),
            self.rfile,
            int(headers.get("content-length", "0")),
        )
        answer = type(self).answering(exchange)
        if exchange.broken or answer is NO_ANSWER:
            self.close_connection = True
            return
        exchange.take()
        self.send(answer)

    def send(self, answer: Answer) -> None:
        """Send an answer; where it is not complete, its connection must end."""
        lengthless = self.command == "CONNECT" or answer.status in _NO_BODY
        bare = lengthless or self.command == "HEAD"
        headers = {
            name: [value] if isinstance(value, str) else value
            for name, value in answer.headers.items()
        }
        given = {name.lower(): values[-1] for name, values in headers.items()}
        if not lengthless and not {"transfer-encoding", "content-length"} & given.keys():
            headers["Content-Length"] = [str(len(answer.body))]
        self.send_response_only(answer.status)
        for name, values in headers.items():
            for value in values:
                self.send_header(name, value)
        self.end_headers()
        body = b"" if bare else answer.body[: answer.cut]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)
        if answer.stall:
            self.stop.wait(_STALL)
        if not bare and not _complete(given, answer, body):
            self.close_connection = True
        if answer.then is not None:
            answer.then(self.connection)
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _complete(headers: dict[str, str], answer: Answer, body: bytes) -> bool:
    """Tell whether `body` ends where the receiver expects it to end."""
    if "transfer-encoding" in headers:
        return body.endswith(b"0\r\n\r\n")
    return int(headers.get("content-length", len(answer.body))) == len(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: type[_Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.errors: list[Exception] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep what is wrong with a test; that connections break is what is tested."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.errors.append(error)


@contextlib.contextmanager
def serving_http(
    answering: Answering,
    *,
    certificate: tuple[Path, Path] | None = None,
    limit: Limit = lambda: None,
) -> Iterator[int]:
    """Answer requests until the context is left; yield the port.

    Leaving it raises what `answering` raised: a client that tries again would hide that.
    `certificate` is (certificate, key) in PEM, for TLS. `limit` is asked for each new connection
    after how many bytes sent by the server it is to end.
    """
    stop = threading.Event()
    members: dict[str, Any] = {f"do_{name}": _Handler.handle_any for name in _METHODS}
    members |= {"answering": staticmethod(answering), "limit": staticmethod(limit), "stop": stop}
    with _Server(type("Handler", (_Handler,), members)) as http:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            http.socket = context.wrap_socket(http.socket, server_side=True)
        with _serving_forever(http):
            try:
                yield int(http.server_address[1])
            finally:
                stop.set()
        if http.errors:
            raise ExceptionGroup("a server of the tests failed", http.errors)


@contextlib.contextmanager
def _serving_forever(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
