"""A registry in this process that takes uploads by the specification, and fails as it is told.

OCI distribution specification 1.1, section Push; no code of the program is used here.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_METHODS = ("GET", "HEAD", "POST", "PATCH", "PUT")
_RANGE = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True)
class Asked:
    """A request; `start` and `end` (the byte after the last) as its Content-Range says them."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    @property
    def range(self) -> tuple[int, int] | None:
        found = _RANGE.fullmatch(self.headers.get("Content-Range", ""))
        return (int(found[1]), int(found[2]) + 1) if found else None

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request.

    With a `status` that is the answer, and the body is read and forgotten. Else the connection
    ends after `cut` bytes of the body (all of them: None), of which those are kept that `keeps`
    says, without an answer.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    keeps: bool = True


@dataclass
class UploadRegistry:
    """What was pushed, and every request; `fault` decides what goes wrong with one."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, bytearray] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    fault: Callable[[Asked], Fault | None] = lambda _: None
    post_headers: dict[str, str] = field(default_factory=dict)
    # What stands before the path of a session's Location: nothing makes it relative.
    location_base: str = ""
    mountable: set[str] = field(default_factory=set)
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    ids: Iterator[int] = field(default_factory=itertools.count)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def said(self) -> list[str]:
        """The requests but those for /v2/, a line each."""
        return [str(asked) for asked in self.asked]

    def ranges(self) -> list[tuple[int, int] | None]:
        return [asked.range for asked in self.asked if asked.method == "PATCH"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: UploadRegistry

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(self.command, parts.path, parse_qs(parts.query), dict(self.headers.items()))
        if parts.path == "/v2/":
            self.answer(200, {})
            return
        with self.registry.lock:
            self.registry.asked.append(asked)
            fault = self.registry.fault(asked)
        length = int(self.headers.get("Content-Length", "0"))
        if fault is not None and fault.status:
            self.rfile.read(length)
            self.answer(fault.status, fault.headers, fault.body)
            return
        cut = fault.cut if fault is not None and fault.cut is not None else length
        body = self.rfile.read(cut)
        if fault is not None and cut < length:
            if fault.keeps:
                self.session(asked).extend(body)
            self.hang_up()
            return
        status, headers = self.take(asked, body)
        if fault is not None:
            self.hang_up()
            return
        self.answer(status, headers)

    def hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def session(self, asked: Asked) -> bytearray:
        return self.registry.sessions.get(asked.path.rpartition("/")[2], bytearray())

    def take(self, asked: Asked, body: bytes) -> tuple[int, dict[str, str]]:
        registry = self.registry
        if "/manifests/" in asked.path:
            registry.manifests[asked.path.rpartition("/")[2]] = body
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            return 201, {"Docker-Content-Digest": digest}
        if asked.method == "HEAD":
            return (200 if asked.path.rpartition("/")[2] in registry.blobs else 404), {}
        if asked.method == "POST":
            if asked.query.get("mount", [""])[0] in registry.mountable:
                return 201, {}
            name = str(next(registry.ids))
            registry.sessions[name] = bytearray()
            return 202, {**self.state(f"{asked.path}{name}", 0), **registry.post_headers}
        return self.take_part(asked, body)

    def take_part(self, asked: Asked, body: bytes) -> tuple[int, dict[str, str]]:
        name = asked.path.rpartition("/")[2]
        # Without the query of the Location, nobody finds the session.
        if name not in self.registry.sessions or asked.query.get("_state") != ["kept"]:
            return 404, {}
        data = self.registry.sessions[name]
        if body and asked.range is not None and asked.range[0] != len(data):
            return 416, self.state(asked.path, len(data))
        data.extend(body)
        if asked.method != "PUT":
            return (204 if asked.method == "GET" else 202), self.state(asked.path, len(data))
        del self.registry.sessions[name]
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if asked.query["digest"] != [digest]:
            return 400, {}
        self.registry.blobs[digest] = bytes(data)
        return 201, {}

    def state(self, path: str, size: int) -> dict[str, str]:
        location = f"{self.registry.location_base}{path}?_state=kept"
        return {"Location": location, "Range": f"0-{max(size - 1, 0)}"}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: that connections break is what is tested."""


@contextlib.contextmanager
def upload_registry() -> Iterator[UploadRegistry]:
    """Run a registry on loopback until the context is left."""
    registry = UploadRegistry()
    methods = {f"do_{name}": _Handler.handle_any for name in _METHODS}
    handler = type("Handler", (_Handler,), {"registry": registry, **methods})
    with _Server(("127.0.0.1", 0), handler) as http:
        registry.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield registry
        finally:
            http.shutdown()
            thread.join()
