"""A proxy before a registry that breaks every connection after some bytes of its answers."""

from __future__ import annotations

import contextlib
import random
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.lib.registries.loopback import serving_forever


@dataclass
class FlakyProxy:
    """`cuts` counts the connections that were broken; each gets from `least` to `most` bytes."""

    upstream: int
    least: int
    most: int
    port: int = 0
    cuts: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def limit(self) -> int:
        with self.lock:
            return self.chance.randint(self.least, self.most)


@contextlib.contextmanager
def flaky_proxy(upstream: int, *, least: int, most: int) -> Iterator[FlakyProxy]:
    """Run a proxy before the registry on port `upstream` of loopback."""
    proxy = FlakyProxy(upstream, least, most)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", upstream)) as registry:
                back = threading.Thread(target=_answer, args=(proxy, registry, self.request))
                back.start()
                with contextlib.suppress(OSError):
                    while data := self.request.recv(1 << 16):
                        registry.sendall(data)
                with contextlib.suppress(OSError):
                    registry.shutdown(socket.SHUT_RDWR)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.port = server.server_address[1]
        with serving_forever(server):
            yield proxy


def _answer(proxy: FlakyProxy, registry: socket.socket, client: socket.socket) -> None:
    left = proxy.limit()
    with contextlib.suppress(OSError):
        while data := registry.recv(min(1 << 16, left)):
            client.sendall(data)
            left -= len(data)
            if not left:
                with proxy.lock:
                    proxy.cuts += 1
                client.shutdown(socket.SHUT_RDWR)
                return
