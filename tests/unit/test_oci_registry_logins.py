"""The registry client, tokens and redirects: who gets a secret and who does not."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from imager.errors import DependencyError, ImagerError, InputError
from imager.oci.credentials import Credential, CredentialStore
from imager.oci.endpoint import Hosts
from imager.oci.httptransport import HttpTransport
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.remote import RemoteImage
from imager.oci.source import NotFoundError
from imager.oci.tls import TlsSettings
from tests.lib.registries.registry import make_certificate
from tests.lib.registries.scripted_registry import (
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


BASIC = {"WWW-Authenticate": 'Basic realm="x"'}
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


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        ['Bearer realm="{r}",service="tests", Basic realm="x"'],
        ['Basic realm="x", Bearer realm="{r}",service="tests"'],
        ["Basic realm=x", "Negotiate", "bearer REALM = {r} , Service = tests"],
        ['Digest nonce="Bearer", Bearer service=tests,realm="{r}"'],
    ],
)
def test_bearer_goes_before_basic_wherever_it_is(server: Server, headers: list[str]) -> None:
    sent = [text.format(r=f"{server.url}/token") for text in headers]
    server.replies[ROOT] = [Reply(401, headers={"WWW-Authenticate": sent}), GOOD]
    server.replies[TOKEN_PATH] = [Reply(200, b'{"token": "t0"}')]
    image(server, auths={f"127.0.0.1:{server.port}": "me:x"}).root()
    assert server.paths(TOKEN_PATH) == [basic("me:x")]
    assert server.paths(ROOT) == ["", "Bearer t0"]


def test_basic_is_left_when_the_token_server_fails(server: Server) -> None:
    both = f'Bearer realm="{server.url}/none", Basic realm="x"'
    server.replies[ROOT] = [Reply(401, headers={"WWW-Authenticate": both}), GOOD]
    image(server, auths={f"127.0.0.1:{server.port}": "me:x"}).root()
    assert server.paths(ROOT) == ["", basic("me:x")]


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("form", ["basic", "bearer"])
def test_a_stored_login_is_tried_where_private_images_are_hidden(
    server: Server, status: int, form: str
) -> None:
    asked = challenge(server) if form == "bearer" else Reply(401, headers=BASIC)
    server.replies["/v2/"] = [Reply(), asked]  # the first one is asked which scheme it speaks
    server.replies[ROOT] = [Reply(status), GOOD]
    server.replies[TOKEN_PATH] = [Reply(200, b'{"token": "t0"}')]
    server.replies[BLOB_PATH] = [Reply(200, BLOB)]
    source = image(server, auths={f"127.0.0.1:{server.port}": "me:x"})
    expected = "Bearer t0" if form == "bearer" else basic("me:x")
    assert source.root().raw == MANIFEST
    assert fetch(source) == BLOB
    assert server.paths(ROOT) == ["", expected]
    assert server.paths(BLOB_PATH) == [expected]


@pytest.mark.parametrize("auths", [{}, {"other.example": "me:x"}])
def test_what_is_hidden_and_has_no_login_is_not_there(
    server: Server, auths: Mapping[str, str]
) -> None:
    server.replies["/v2/"] = [Reply(), Reply(401, headers=BASIC)]
    server.replies[ROOT] = [Reply(404)]
    source = image(server, auths=auths)
    for _ in range(3):
        with pytest.raises(NotFoundError, match="is not in the registry") as caught:
            source.root()
    assert "log in" in caught.value.hint
    # The registry is asked once what it wants, and a login that cannot help is not tried again.
    assert server.paths(ROOT) == [""] * 3
    assert len(server.paths("/v2/")) == 2


def test_a_login_that_is_refused_leaves_what_is_hidden_hidden(server: Server) -> None:
    server.replies["/v2/"] = [Reply(), challenge(server)]
    server.replies[ROOT] = [Reply(404)]
    server.replies[TOKEN_PATH] = [Reply(401)]
    source = image(server, auths={f"127.0.0.1:{server.port}": "me:x"})
    for _ in range(3):
        with pytest.raises(NotFoundError):
            source.root()
    assert len(server.paths(TOKEN_PATH)) == 1


def test_an_open_registry_is_asked_for_its_challenge_once(server: Server) -> None:
    source = image(server, auths={f"127.0.0.1:{server.port}": "me:x"})
    for _ in range(3):
        with pytest.raises(NotFoundError):
            source.root()
    assert len(server.paths("/v2/")) == 2
    assert set(server.paths(ROOT)) == {""}


def test_an_identity_token_is_exchanged(server: Server) -> None:
    server.replies[ROOT] = [challenge(server, realm=f"{server.url}/oauth2?a=b"), GOOD]
    server.replies["/oauth2?a=b"] = [Reply(200, b'{"access_token": "t0"}')]
    source = image(server, auths={f"127.0.0.1:{server.port}": {"identitytoken": "re+fresh"}})
    assert source.root().raw == MANIFEST
    assert server.paths(ROOT) == ["", "Bearer t0"]
    assert server.paths("/oauth2?a=b") == [""]
    assert parse_qs(server.bodies[0].decode()) == {
        "grant_type": ["refresh_token"],
        "service": ["tests"],
        "client_id": ["imager"],
        "scope": ["repository:a/b:pull"],
        "refresh_token": ["re+fresh"],
    }


def test_a_registry_token_is_sent_as_it_is(server: Server) -> None:
    server.replies[ROOT] = [challenge(server), GOOD]
    image(server, auths={f"127.0.0.1:{server.port}": {"registrytoken": "t1"}}).root()
    assert server.paths(ROOT) == ["", "Bearer t1"]
    assert server.paths(TOKEN_PATH) == []


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(400), "refuses the stored credentials"),
        (Reply(401), "refuses the stored credentials"),
        (Reply(404), "does not exchange identity tokens"),
        (Reply(405), "does not exchange identity tokens"),
    ],
)
def test_identity_tokens_that_are_refused(server: Server, reply: Reply, why: str) -> None:
    server.replies[ROOT] = [challenge(server)]
    server.replies["/token"] = [reply]
    with pytest.raises(InputError, match=why):
        image(server, auths={f"127.0.0.1:{server.port}": {"identitytoken": "x"}}).root()
    assert len(server.bodies) == 1


def test_a_token_is_no_password(server: Server) -> None:
    server.replies[ROOT] = [Reply(401, headers=BASIC)]
    with pytest.raises(InputError, match="the stored login is a token"):
        image(server, auths={f"127.0.0.1:{server.port}": {"identitytoken": "secret"}}).root()
    assert server.paths(ROOT) == [""]


def test_the_challenge_of_another_host_is_not_answered(server: Server) -> None:
    """Else the registry's login would go to a token server that a third one names."""
    with serving() as other:
        other.replies["/blob"] = [challenge(other)]
        server.replies[BLOB_PATH] = [Reply(307, headers={"Location": f"{other.url}/blob"})]
        source = image(server, auths={f"127.0.0.1:{server.port}": "me:secret"})
        with pytest.raises(InputError, match="HTTP 401"):
            fetch(source)
        assert other.asked == [("/blob", "")]


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
            "refers to 'file:///etc/passwd', which is not the URL",
        ),
        (
            lambda s: {ROOT: [challenge(s, realm="https://[x/")]},
            DependencyError,
            "refers to 'https://.x/': Invalid IPv6",
        ),
        (
            lambda _: {ROOT: [Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'})]},
            InputError,
            "requires a login",
        ),
        (
            lambda _: {ROOT: [Reply(401, headers={"WWW-Authenticate": "Negotiate"})]},
            DependencyError,
            "unsupported authentication scheme: negotiate",
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
        ("file:///etc/passwd", "refers to 'file:///etc/passwd'"),
        ("http://user:secret@127.0.0.1:1/", "refers to 'http://user"),
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
        certificate = tmp_path / "cert.pem"
        transport = HttpTransport(tls=TlsSettings(ca_files=(certificate,)), patience=QUICK)
        url = f"https://127.0.0.1:{secure.port}/a"
        with (
            pytest.raises(DependencyError, match=r"refers to http://.*not encrypted"),
            transport.request("GET", url, headers={}),
        ):
            pass
    assert server.asked == []


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Server]:
    """A registry with TLS; its certificate is in cert.pem."""
    with serving(make_certificate(tmp_path)) as running:
        yield running


def over_tls(secure: Server, tls: TlsSettings) -> RemoteImage:
    """The image of a registry whose root is asked by TLS alone."""
    root = f"https://127.0.0.1:{secure.port}/v2"
    host = f"127.0.0.1:{secure.port}"
    hosts = Hosts(mirrors={host: (root,)}, tls=tls)
    transport = HttpTransport(tls=tls, patience=QUICK)
    client = RegistryClient(
        transport=transport,
        credentials=CredentialStore.of(host, Credential("me", "x")),
        hosts=hosts,
        patience=QUICK,
        connect=lambda _: transport,
    )
    return client.image(Reference.parse(f"{host}/a/b:v1"))


@pytest.mark.parametrize("verify", [True, False])
def test_a_plain_token_server_behind_tls(
    server: Server, secure: Server, tmp_path: Path, verify: bool
) -> None:
    """--insecure takes it: who takes any certificate is no safer with TLS."""
    secure.replies[ROOT] = [challenge(server), *([] if verify else [GOOD])]
    server.replies[TOKEN_PATH] = [Reply(200, b'{"token": "t0"}')]
    tls = TlsSettings(verify=verify, ca_files=(tmp_path / "cert.pem",))
    if not verify:
        assert over_tls(secure, tls).root().raw == MANIFEST
        assert server.paths(TOKEN_PATH) == [basic("me:x")]
        return
    with pytest.raises(DependencyError, match=r"refers to http://.*not encrypted") as caught:
        over_tls(secure, tls).root()
    assert "--insecure" in caught.value.hint
    assert server.asked == []


@pytest.mark.parametrize("verify", [True, False])
def test_a_plain_storage_behind_tls(
    server: Server, secure: Server, tmp_path: Path, verify: bool
) -> None:
    secure.replies[BLOB_PATH] = [Reply(307, headers={"Location": f"{server.url}/blob"})]
    server.replies["/blob"] = [Reply(200, BLOB)]
    tls = TlsSettings(verify=verify, ca_files=(tmp_path / "cert.pem",))
    if not verify:
        assert fetch(over_tls(secure, tls)) == BLOB
        return
    with pytest.raises(DependencyError, match=r"refers to http://.*not encrypted"):
        fetch(over_tls(secure, tls))
    assert server.asked == []


def test_a_registry_behind_a_proxy_that_ends_tls_names_itself(
    secure: Server, tmp_path: Path
) -> None:
    plain = f"http://127.0.0.1:{secure.port}"
    text = f'Bearer realm="{plain}/token",service="tests"'
    secure.replies[ROOT] = [Reply(401, headers={"WWW-Authenticate": text}), GOOD]
    secure.replies[TOKEN_PATH] = [Reply(200, b'{"token": "t0"}')]
    secure.replies[BLOB_PATH] = [Reply(307, headers={"Location": f"{plain}/blob"})]
    secure.replies["/blob"] = [Reply(200, BLOB)]
    source = over_tls(secure, TlsSettings(ca_files=(tmp_path / "cert.pem",)))
    assert source.root().raw == MANIFEST
    assert fetch(source) == BLOB


def test_netrc_stays_at_home(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.replies[ROOT] = [GOOD]
    image(server).root()
    assert server.paths(ROOT) == [""]
