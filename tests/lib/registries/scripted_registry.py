"""A registry in this process that answers from a script, and a client of it."""

from __future__ import annotations

import base64
import contextlib
import io
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from imager.oci import manifest as m
from imager.oci.credentials import CredentialStore
from imager.oci.digest import Digest
from imager.oci.documents import Fields
from imager.oci.endpoint import Hosts
from imager.oci.httptransport import HttpTransport
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.remote import RemoteImage
from imager.oci.retry import Patience

BLOB = bytes(range(256)) * 8192
LAYER = m.Descriptor(m.OCI_LAYER, Digest.of(BLOB), len(BLOB))
MANIFEST = m.manifest_json(m.Descriptor(m.OCI_CONFIG, Digest.of(b"{}"), 2), [LAYER])
QUICK = Patience(retries=2, first_delay=0.01, longest_delay=0.05, connect=2, read=0.5, probe=1)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    stall: bool = False


@dataclass
class Server:
    """Answers by path from a script: a list is used up to its last reply, which stays."""

    replies: dict[str, list[Reply]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self, path: str) -> list[str]:
        """The Authorization headers of the requests for `path`."""
        return [authorization for asked, authorization in self.asked if asked == path]

    def next_reply(self, path: str, authorization: str) -> Reply:
        self.asked.append((path, authorization))
        replies = self.replies.get(path, [Reply(404)])
        return replies.pop(0) if len(replies) > 1 else replies[0]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            server.bodies.append(body)
            self.do_GET()

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            reply = server.next_reply(self.path, self.headers.get("Authorization", ""))
            self.send_response(reply.status)
            headers = {"Connection": "close", **reply.headers}
            if "Transfer-Encoding" not in headers:
                headers.setdefault("Content-Length", str(len(reply.body)))
            for name, value in headers.items():
                for each in [value] if isinstance(value, str) else value:
                    self.send_header(name, each)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"" if self.command == "HEAD" else reply.body)
                self.wfile.flush()
            if reply.stall:
                server.stop.wait(5)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


@contextlib.contextmanager
def serving(certificate: tuple[Path, Path] | None = None) -> Iterator[Server]:
    server = Server(replies={"/v2/": [Reply()]})
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as http:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            http.socket = context.wrap_socket(http.socket, server_side=True)
        server.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            http.shutdown()
            thread.join()


def image(
    server: Server,
    *,
    auths: Mapping[str, str | Mapping[str, str]] | None = None,
    transport: HttpTransport | None = None,
    hosts: Hosts | None = None,
) -> RemoteImage:
    entries = {
        host: {"auth": base64.b64encode(login.encode()).decode()}
        if isinstance(login, str)
        else login
        for host, login in (auths or {}).items()
    }
    client = RegistryClient(
        transport=transport or HttpTransport(patience=QUICK),
        credentials=CredentialStore(Fields({"auths": entries}, "credentials")),
        hosts=hosts,
        patience=QUICK,
    )
    return client.image(Reference.parse(f"127.0.0.1:{server.port}/a/b:v1"))


ROOT = "/v2/a/b/manifests/v1"
BLOB_PATH = f"/v2/a/b/blobs/{LAYER.digest}"
GOOD = Reply(200, MANIFEST, {"Content-Type": m.OCI_MANIFEST})


def fetch(source: RemoteImage, blob: m.Descriptor = LAYER) -> bytes:
    sink = io.BytesIO()
    source.fetch_blob(blob, sink)
    return sink.getvalue()
