"""A proxy before a registry that notes requests, and cuts or holds connections as it is told."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.lib.registries.loopback import serving_forever

_REQUEST = re.compile(rb"((?:GET|HEAD|POST|PATCH|PUT) \S+) HTTP/1\.1\r\n")
_END = b"\r\n\r\n"
_SETTLE = 0.2  # seconds in which the registry takes what it got


@dataclass
class CuttingProxy:
    """`requests` are the lines of all requests, without the host.

    `cut` is asked with each of them after how many bytes of its body the connection is to end;
    None lets it live.
    """

    upstream: int
    port: int = 0
    requests: list[str] = field(default_factory=list)
    cut: Callable[[str], int | None] = lambda _: None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def methods(self) -> list[str]:
        """Return the methods of the requests, but those for /v2/."""
        return [line.split()[0] for line in self.requests if not line.endswith(" /v2/")]


class _Handler(socketserver.BaseRequestHandler):
    proxy: CuttingProxy

    def handle(self) -> None:
        address = ("127.0.0.1", self.proxy.upstream)
        with socket.create_connection(address) as registry:
            back = threading.Thread(target=_copy, args=(registry, self.request))
            back.start()
            with contextlib.suppress(OSError):
                self.forward(registry)
            for end in (registry, self.request):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            back.join()

    def forward(self, registry: socket.socket) -> None:
        left: int | None = None
        while data := self.request.recv(1 << 16):
            if match := _REQUEST.match(data):
                line = match[1].decode()
                self.proxy.requests.append(line)
                left = self.proxy.cut(line)
                if left is not None:
                    left += data.index(_END) + len(_END)
            passed = data[:left]
            registry.sendall(passed)
            if left is not None:
                left -= len(passed)
                if left == 0:
                    time.sleep(_SETTLE)
                    return


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


@contextlib.contextmanager
def cutting_proxy(upstream: int) -> Iterator[CuttingProxy]:
    """Run a proxy before the port `upstream` of this machine until the context is left."""
    proxy = CuttingProxy(upstream)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with _Server(("127.0.0.1", 0), handler) as server:
        proxy.port = server.server_address[1]
        with serving_forever(server):
            yield proxy
