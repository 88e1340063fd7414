"""The registry client against servers that fail, lie, stall or ask for too much."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imager.errors import DependencyError, ImagerError, InputError
from imager.oci import manifest as m
from imager.oci.credentials import CredentialStore
from imager.oci.digest import Digest
from imager.oci.documents import Fields
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient, RemoteImage
from imager.oci.source import NotFoundError
from imager.oci.transport import HttpTransport, Patience, Response
from tests.registry import make_certificate

BLOB = bytes(range(256)) * 8192
LAYER = m.Descriptor(m.OCI_LAYER, Digest.of(BLOB), len(BLOB))
MANIFEST = m.manifest_json(m.Descriptor(m.OCI_CONFIG, Digest.of(b"{}"), 2), [LAYER])
QUICK = Patience(retries=2, first_delay=0.01, longest_delay=0.05, connect=2, read=0.5, probe=1)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    stall: bool = False


@dataclass
class Server:
    """Answers by path from a script: a list is used up to its last reply, which stays."""

    replies: dict[str, list[Reply]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
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

        def do_GET(self) -> None:
            reply = server.next_reply(self.path, self.headers.get("Authorization", ""))
            self.send_response(reply.status)
            headers = {"Connection": "close", **reply.headers}
            if "Transfer-Encoding" not in headers:
                headers.setdefault("Content-Length", str(len(reply.body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(reply.body)
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


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def image(server: Server, *, auths: Mapping[str, str] | None = None) -> RemoteImage:
    entries = {
        host: {"auth": base64.b64encode(text.encode()).decode()}
        for host, text in (auths or {}).items()
    }
    client = RegistryClient(
        transport=HttpTransport(patience=QUICK),
        credentials=CredentialStore(Fields({"auths": entries}, "credentials")),
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


def test_pulls_by_tag_and_digest(server: Server) -> None:
    digest = Digest.of(MANIFEST)
    server.replies |= {ROOT: [GOOD], f"/v2/a/b/manifests/{digest}": [GOOD]}
    server.replies[BLOB_PATH] = [Reply(200, BLOB)]
    source = image(server)
    assert source.root() == source.manifest(digest) == m.RawManifest.parse(MANIFEST)
    assert fetch(source) == BLOB
    assert source.blob_content(LAYER) is None


OTHER = MANIFEST.replace(b'"layers"', b'"annotations":{},"layers"')


@pytest.mark.parametrize(
    ("reply", "kind", "why"),
    [
        (Reply(200, b"<html>", {"Content-Type": "text/html"}), DependencyError, "web page"),
        (Reply(200, b"<html>", {}), InputError, "not valid JSON"),
        (Reply(200, b" " * (5 << 20)), DependencyError, "larger than 4 MiB"),
        (
            Reply(200, MANIFEST, {"Docker-Content-Digest": str(Digest.of(b""))}),
            DependencyError,
            "not what its digest says",
        ),
        (Reply(200, MANIFEST, {"Content-Type": m.OCI_INDEX}), InputError, "was sent as"),
        (Reply(200, MANIFEST[:-5], {"Content-Length": "9999"}), DependencyError, "was lost after"),
        (Reply(404), NotFoundError, "/a/b:v1 .manifests/v1. is not in the registry"),
        (Reply(403), InputError, "refuses access to .*/a/b:v1.*HTTP 403"),
        (Reply(418), DependencyError, "HTTP 418"),
    ],
)
def test_bad_manifests(server: Server, reply: Reply, kind: type[ImagerError], why: str) -> None:
    server.replies[ROOT] = [reply]
    with pytest.raises(kind, match=why):
        image(server).root()
    assert len(server.paths(ROOT)) == 1


def test_a_manifest_asked_by_digest_must_have_it(server: Server) -> None:
    digest = Digest.of(MANIFEST)
    said = {"Content-Type": m.OCI_MANIFEST, "Docker-Content-Digest": str(digest)}
    server.replies[f"/v2/a/b/manifests/{digest}"] = [Reply(200, OTHER, said)]
    with pytest.raises(DependencyError, match=r"expected sha256:.*, got sha256:"):
        image(server).manifest(digest)


def test_the_registrys_words_are_shown_but_cannot_drive_a_terminal(server: Server) -> None:
    words = {"errors": [{"code": "DENIED", "message": "no\x1b[2J\nway" + "x" * 5000}]}
    server.replies[ROOT] = [Reply(403, json.dumps(words).encode())]
    with pytest.raises(InputError) as caught:
        image(server).root()
    assert ": no[2Jwayxx" in caught.value.message
    assert len(caught.value.message) < 400
    assert "docker login 127.0.0.1" in caught.value.hint


WRONG = BLOB[:-1] + b"?"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(200, WRONG), "not what its digest says"),
        (Reply(200, BLOB[:-1]), "is announced with 2097151 bytes"),
        (Reply(200, BLOB[:999], {"Content-Length": str(len(BLOB))}), "lost after 999 bytes"),
        (Reply(200, BLOB[:999], {"Content-Length": str(len(BLOB))}, stall=True), "was lost after"),
        (
            Reply(200, b"5\r\nhello\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"}),
            "truncated: 5 of",
        ),
        (Reply(500), "HTTP 500"),
        (Reply(429), "limits the rate"),
    ],
)
def test_bad_blobs(server: Server, reply: Reply, why: str) -> None:
    server.replies[BLOB_PATH] = [reply]
    with pytest.raises(DependencyError, match=why):
        fetch(image(server))


def test_a_body_longer_than_promised_never_reaches_the_sink(server: Server) -> None:
    endless = b"".join(b"10000\r\n" + bytes(65536) + b"\r\n" for _ in range(64))
    server.replies[BLOB_PATH] = [Reply(200, endless, {"Transfer-Encoding": "chunked"})]
    sink = io.BytesIO()
    with pytest.raises(DependencyError, match="longer than the 2097152 bytes"):
        image(server).fetch_blob(LAYER, sink)
    assert len(sink.getvalue()) <= LAYER.size


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_overload_is_tried_again(server: Server, status: int) -> None:
    server.replies[ROOT] = [Reply(status), Reply(status, headers={"Retry-After": "0"}), GOOD]
    assert image(server).root().raw == MANIFEST


def test_retrying_ends(server: Server) -> None:
    server.replies[ROOT] = [Reply(503, headers={"Retry-After": "86400"})]
    with pytest.raises(DependencyError, match="HTTP 503"):
        image(server).root()
    assert len(server.paths(ROOT)) == 1 + QUICK.retries


@pytest.mark.parametrize("value", ["9" * 5000, "never", "-1", "Mon, 01 Jan 99999 00:00:00 GMT"])
def test_a_senseless_retry_after_is_bounded(server: Server, value: str) -> None:
    server.replies[ROOT] = [Reply(429, headers={"Retry-After": value}), GOOD]
    assert image(server).root().raw == MANIFEST


def test_a_dead_registry_is_named(server: Server) -> None:
    port = server.port
    dead = Server(port=_closed_port())
    assert dead.port != port
    with pytest.raises(DependencyError, match=f"no answer from 127.0.0.1:{dead.port}") as caught:
        image(dead).root()
    assert "refused" in caught.value.message
    assert "Connection(" not in caught.value.message


def _closed_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        port: int = http.server_address[1]
        return port


def challenge(server: Server, **parts: str) -> Reply:
    values = {"realm": f"{server.url}/token", "service": "tests", **parts}
    text = ",".join(f'{name}="{value}"' for name, value in values.items())
    return Reply(401, headers={"WWW-Authenticate": f"Bearer {text}"})


TOKEN_PATH = "/token?service=tests&scope=repository%3Aa%2Fb%3Apull"


def test_gets_a_token_and_keeps_it(server: Server) -> None:
    server.replies[ROOT] = [challenge(server, scope="repository:a/b:pull"), GOOD]
    server.replies[TOKEN_PATH] = [Reply(200, b'{"token": "t0"}')]
    server.replies[BLOB_PATH] = [Reply(200, BLOB)]
    source = image(server, auths={f"127.0.0.1:{server.port}": "me:secret"})
    assert source.root().raw == MANIFEST
    assert fetch(source) == BLOB
    assert server.paths(TOKEN_PATH) == ["Basic " + base64.b64encode(b"me:secret").decode()]
    assert server.paths(ROOT) == ["", "Bearer t0"]
    assert server.paths(BLOB_PATH) == ["Bearer t0"]


def test_an_expired_token_is_asked_for_again(server: Server) -> None:
    server.replies[ROOT] = [challenge(server), GOOD]
    server.replies[TOKEN_PATH] = [
        Reply(200, b'{"access_token": "t0"}'),
        Reply(200, b'{"access_token": "t1"}'),
    ]
    server.replies[BLOB_PATH] = [challenge(server), Reply(200, BLOB)]
    source = image(server)
    assert source.root().raw == MANIFEST
    assert fetch(source) == BLOB
    assert server.paths(BLOB_PATH) == ["Bearer t0", "Bearer t1"]
    assert server.paths(TOKEN_PATH) == ["", ""]


Make = Callable[[Server], Mapping[str, list[Reply]]]


@pytest.mark.parametrize(
    ("make", "kind", "why"),
    [
        (lambda s: {ROOT: [challenge(s)]}, DependencyError, "gives no token .* HTTP 404"),
        (
            lambda s: {ROOT: [challenge(s)], TOKEN_PATH: [Reply(401)]},
            InputError,
            "refuses anonymous access for .*/a/b:v1",
        ),
        (
            lambda s: {ROOT: [challenge(s)], TOKEN_PATH: [Reply(200, b'{"token": "t"}')]},
            InputError,
            "refuses access .* HTTP 401",
        ),
        (
            lambda s: {ROOT: [challenge(s)], TOKEN_PATH: [Reply(200, b"{}")]},
            DependencyError,
            "no valid token",
        ),
        (
            lambda s: {ROOT: [challenge(s)], TOKEN_PATH: [Reply(200, b'{"token": "a\\nb: c"}')]},
            DependencyError,
            "no valid token",
        ),
        (
            lambda s: {ROOT: [challenge(s, realm="file:///etc/passwd")]},
            DependencyError,
            "not safe: 'file:///etc/passwd'",
        ),
        (
            lambda s: {ROOT: [challenge(s, realm="https://[x/")]},
            DependencyError,
            "names 'https://.x/' as its token server",
        ),
        (
            lambda _: {ROOT: [Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'})]},
            InputError,
            "wants a login",
        ),
        (
            lambda _: {ROOT: [Reply(401, headers={"WWW-Authenticate": "Negotiate"})]},
            DependencyError,
            "unknown login: 'Negotiate'",
        ),
        (lambda _: {ROOT: [Reply(401)]}, InputError, "does not say how to log in"),
    ],
)
def test_refused_logins(server: Server, make: Make, kind: type[ImagerError], why: str) -> None:
    server.replies.update(make(server))
    with pytest.raises(kind, match=why):
        image(server).root()
    assert len(server.paths(ROOT)) <= 2


def test_credentials_do_not_follow_a_redirect_to_another_server(server: Server) -> None:
    with serving() as other:
        other.replies["/blob"] = [Reply(200, BLOB)]
        server.replies[ROOT] = [challenge(server), GOOD]
        server.replies[TOKEN_PATH] = [Reply(200, b'{"token": "t0"}')]
        server.replies[BLOB_PATH] = [
            Reply(307, b"moved", {"Location": f"{server.url}/here"}),
        ]
        endless = {"Location": f"{other.url}/blob", "Content-Length": str(1 << 40)}
        server.replies["/here"] = [Reply(302, b"x" * 999, endless, stall=True)]
        source = image(server)
        source.root()
        assert fetch(source) == BLOB
        assert server.paths("/here") == ["Bearer t0"]
        assert other.paths("/blob") == [""]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (BLOB_PATH, "more than 5 redirects"),
        ("file:///etc/passwd", "redirects to file://"),
        ("https://[x/", "Invalid IPv6"),
    ],
)
def test_redirects_are_bounded(server: Server, target: str, why: str) -> None:
    server.replies[BLOB_PATH] = [Reply(302, headers={"Location": target})]
    with pytest.raises(DependencyError, match=why):
        fetch(image(server))
    assert len(server.paths(BLOB_PATH)) <= 6


def test_no_redirect_leads_out_of_tls(tmp_path: Path, server: Server) -> None:
    with serving(make_certificate(tmp_path)) as secure:
        secure.replies["/a"] = [Reply(302, headers={"Location": f"{server.url}/a"})]
        server.replies["/a"] = [Reply()]
        transport = HttpTransport(verify_tls=False, patience=QUICK)
        url = f"https://127.0.0.1:{secure.port}/a"
        with (
            pytest.raises(DependencyError, match=r"redirects to http://.* not safe"),
            transport.get(url, headers={}),
        ):
            pass
    assert server.asked == []


@dataclass
class FakeTransport:
    """Answers 404 to everything; `speaking` are the URLs at which a server is."""

    speaking: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def get(self, url: str, *, headers: Mapping[str, str]) -> Iterator[Response]:
        self.asked.append(url)
        yield FakeResponse()

    def answers(self, url: str) -> bool:
        return url in self.speaking


@dataclass(frozen=True)
class FakeResponse:
    status: int = 404
    headers: Mapping[str, str] = field(default_factory=dict)

    def chunks(self) -> Iterator[bytes]:
        yield b""


@pytest.mark.parametrize(
    ("name", "insecure", "speaking", "url"),
    [
        ("alpine", False, "", "https://registry-1.docker.io/v2/library/alpine/manifests/latest"),
        ("ghcr.io/a/b:v1", False, "http://ghcr.io/v2/", "https://ghcr.io/v2/a/b/manifests/v1"),
        ("r.test/a:v1", True, "http://r.test/v2/", "http://r.test/v2/a/manifests/v1"),
        ("r.test/a:v1", True, "https://r.test/v2/", "https://r.test/v2/a/manifests/v1"),
        ("r.test/a:v1", True, "", "https://r.test/v2/a/manifests/v1"),
        (
            "localhost:1/a:v1",
            False,
            "http://localhost:1/v2/",
            "http://localhost:1/v2/a/manifests/v1",
        ),
        ("[::1]:1/a:v1", False, "https://[::1]:1/v2/", "https://[::1]:1/v2/a/manifests/v1"),
        ("127.0.0.1.evil.test/a:v1", False, "", "https://127.0.0.1.evil.test/v2/a/manifests/v1"),
    ],
)
def test_plain_http_is_for_loopback_and_insecure_only(
    name: str, insecure: bool, speaking: str, url: str
) -> None:
    transport = FakeTransport((speaking,))
    client = RegistryClient(
        transport=transport, credentials=CredentialStore.empty(), insecure=insecure
    )
    with pytest.raises(NotFoundError):
        client.image(Reference.parse(name)).root()
    assert transport.asked == [url]


def test_netrc_stays_at_home(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.replies[ROOT] = [GOOD]
    image(server).root()
    assert server.paths(ROOT) == [""]
