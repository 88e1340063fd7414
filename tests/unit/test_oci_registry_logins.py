"""The registry client, tokens and redirects: who gets a secret and who does not."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from imager.errors import DependencyError, ImagerError, InputError
from imager.oci.httptransport import HttpTransport
from imager.oci.tls import TlsSettings
from tests.registry import make_certificate
from tests.scripted_registry import (
    BLOB,
    BLOB_PATH,
    GOOD,
    MANIFEST,
    QUICK,
    ROOT,
    Reply,
    Server,
    fetch,
    image,
    serving,
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


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


def test_a_token_that_breaks_off_is_asked_for_again(server: Server) -> None:
    cut = Reply(200, b'{"token": "t', {"Content-Length": "20"})
    server.replies[ROOT] = [challenge(server), challenge(server), GOOD]
    server.replies[TOKEN_PATH] = [cut, Reply(200, b'{"token": "t0"}')]
    server.replies[BLOB_PATH] = [challenge(server), challenge(server), Reply(200, BLOB)]
    source = image(server)
    assert source.root().raw == MANIFEST
    assert server.paths(ROOT) == ["", "", "Bearer t0"]
    server.replies[TOKEN_PATH] = [cut, Reply(200, b'{"token": "t1"}')]
    assert fetch(source) == BLOB
    assert server.paths(BLOB_PATH) == ["Bearer t0", "Bearer t0", "Bearer t1"]


def test_a_token_that_always_breaks_off_is_given_up(server: Server) -> None:
    server.replies[ROOT] = [challenge(server)]
    server.replies[TOKEN_PATH] = [Reply(200, b'{"token": "t', {"Content-Length": "20"})]
    with pytest.raises(DependencyError, match="was lost after 12 bytes"):
        image(server).root()
    assert len(server.paths(TOKEN_PATH)) == 1 + QUICK.retries


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


def test_other_secrets_do_not_follow_a_redirect_either(server: Server) -> None:
    class Seen(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.update({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    seen: dict[str, str] = {}
    with HTTPServer(("127.0.0.1", 0), Seen) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        target = f"http://127.0.0.1:{other.server_address[1]}/x"
        server.replies["/x"] = [Reply(302, headers={"Location": target})]
        sent = {"X-Key": "secret", "Range": "bytes=1-", "Accept": "a/b"}
        transport = HttpTransport(patience=QUICK)
        with transport.request("GET", f"{server.url}/x", headers=sent) as response:
            assert response.status == 200
        thread.join()
    assert "x-key" not in seen
    assert (seen["range"], seen["accept"]) == ("bytes=1-", "a/b")


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
        transport = HttpTransport(tls=TlsSettings(verify=False), patience=QUICK)
        url = f"https://127.0.0.1:{secure.port}/a"
        with (
            pytest.raises(DependencyError, match=r"redirects to http://.* not safe"),
            transport.request("GET", url, headers={}),
        ):
            pass
    assert server.asked == []


def test_netrc_stays_at_home(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.replies[ROOT] = [GOOD]
    image(server).root()
    assert server.paths(ROOT) == [""]
