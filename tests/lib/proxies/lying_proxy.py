"""A proxy before a registry that changes the status and the fields of its answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import urllib3

from tests.lib.registries.loopback import serving_forever

_TIMEOUT = 20
_NOT_FORWARDED = frozenset({"connection", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the registry said, or what is said in its place."""

    status: int
    fields: dict[str, str]
    data: bytes


Lie = Callable[[str, str, Answer], Answer]


@contextlib.contextmanager
def lying_proxy(url: str, lie: Lie) -> Iterator[str]:
    """Run a proxy before the registry at `url` while the context is open; yield its own URL.

    `lie` has a request's method and path, and the registry's answer; it returns what to say.
    """
    with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = _TIMEOUT

            def do_GET(self) -> None:
                fields = {key: value for key, value in self.headers.items() if key != "Host"}
                reply = pool.request(
                    self.command, url + self.path, headers=fields, decode_content=False
                )
                answer = lie(
                    self.command, self.path, Answer(reply.status, dict(reply.headers), reply.data)
                )
                self.send_response_only(answer.status)
                for name, value in answer.fields.items():
                    if name.lower() not in _NOT_FORWARDED:
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer.data)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, serving_forever(server):
            yield f"http://127.0.0.1:{server.server_address[1]}"
