"""A server of blobs that answers to ranges as a test plans it: rightly, wrongly, or in part."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RANGE = re.compile(r"bytes=(\d+)-")


@dataclass(frozen=True)
class Request:
    path: str
    authorization: str
    range: str | None

    @property
    def start(self) -> int:
        found = RANGE.fullmatch(self.range or "")
        return int(found[1]) if found else 0


@dataclass
class Reply:
    """What a plan answers; `cut` is how much of the body is sent before the connection ends."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: bool = False


Plan = Callable[[Request], Reply]


def ranged(request: Request, data: bytes, *, cut: int | None = None, stall: bool = False) -> Reply:
    """The right answer: 206 to a range, 200 to none."""
    start = request.start
    if request.range is None:
        return Reply(200, data, cut=cut, stall=stall)
    headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
    return Reply(206, data[start:], headers, cut=cut, stall=stall)


@dataclass
class Registry:
    port: int = 0
    plan: Plan = lambda _: Reply(404)
    asked: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, request: Request) -> Reply:
        if request.path == "/v2/":
            return Reply(200)
        with self.lock:
            self.asked.append(request)
            return self.plan(request)

    def blobs(self) -> list[Request]:
        return [request for request in self.asked if "/blobs/" in request.path]


@contextlib.contextmanager
def serving() -> Iterator[Registry]:
    registry = Registry()
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            reply = registry.answer(
                Request(self.path, self.headers.get("Authorization", ""), self.headers.get("Range"))
            )
            self.send_response(reply.status)
            headers = {"Content-Length": str(len(reply.body)), **reply.headers}
            if reply.cut is not None:
                headers["Connection"] = "close"
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(reply.body[: reply.cut])
                self.wfile.flush()
            if reply.stall:
                stop.wait(5)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    class Http(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    with Http(("127.0.0.1", 0), Handler) as http:
        registry.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield registry
        finally:
            stop.set()
            http.shutdown()
            thread.join()
