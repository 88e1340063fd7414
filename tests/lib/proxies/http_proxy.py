"""A proxy that remembers what was asked: before one server, or for any, tunnels included.

It can also break: answer with an error, or cut blobs off.
"""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.lib.registries.loopback import serving_forever

_HOP = frozenset({"connection", "proxy-connection", "host", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; the path is as it was sent, the names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(slots=True)
class Proxy:
    """The running proxy; `status` is answered to all but /v2/, no byte of a blob behind `cut`.

    `statuses` is what is answered, without asking, to paths with a word in them.
    """

    upstream: str
    port: int = 0
    status: int | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    cut: int | None = None
    asked: list[Asked] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def paths(self, word: str) -> list[str]:
        return [each.path for each in self.asked if word in each.path]


@contextlib.contextmanager
def running_proxy(upstream: str = "") -> Iterator[Proxy]:
    """Run a proxy: before `upstream` (host:port), or for whatever a client names."""
    proxy = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = _lowered(self.headers)
            proxy.asked.append(Asked(self.command, self.path, headers))
            parts = urlsplit(self.path)
            target = parts._replace(scheme="", netloc="").geturl()
            status = next((s for word, s in proxy.statuses.items() if word in target), proxy.status)
            if status is not None and parts.path != "/v2/":
                self.send_error(status)
                return
            connection = http.client.HTTPConnection(proxy.upstream or parts.netloc, timeout=10)
            kept = {name: value for name, value in headers.items() if name not in _HOP}
            connection.request("GET", target, headers=kept)
            with contextlib.closing(connection), connection.getresponse() as answer:
                self._pass_on(answer)

        def _pass_on(self, answer: http.client.HTTPResponse) -> None:
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in (*_HOP, "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body[: self._left()])

        def _left(self) -> int | None:
            """Return how many bytes of the body may pass, None for all."""
            if proxy.cut is None or "/blobs/" not in self.path:
                return None
            start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
            return max(0, proxy.cut - int(start))

        def do_CONNECT(self) -> None:
            proxy.asked.append(Asked(self.command, self.path, _lowered(self.headers)))
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=10) as there:
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                _tunnel(self.connection, there)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy.port = server.server_address[1]
        with serving_forever(server):
            yield proxy


def _lowered(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _tunnel(here: socket.socket, there: socket.socket) -> None:
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(here, selectors.EVENT_READ, (here, there))
        selector.register(there, selectors.EVENT_READ, (there, here))
        while ready := selector.select(10):
            for key, _ in ready:
                source, target = key.data
                data = source.recv(65536)
                if not data:
                    return
                target.sendall(data)
