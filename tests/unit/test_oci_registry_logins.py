"""The registry client, tokens and redirects: who gets a secret and who does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from imager.oci.credentials import Credential, CredentialStore
from imager.oci.endpoint import Hosts
from imager.oci.errors import NotFoundError
from imager.oci.httptransport import HttpTransport
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.remote import RemoteImage
from imager.oci.tls import TlsSettings
from imager.support.errors import DependencyError, ImagerError, InputError
from tests.lib.registries.client import QUICK, fetch, image
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.registry import make_certificate
from tests.lib.registries.sample import BLOB, BLOB_PATH, MANIFEST, ROOT, fill
from tests.lib.registries.tokens import BASIC, basic, challenge, token
from tests.lib.servers.faults import RIGHT, Fault
from tests.lib.servers.messages import Answer

TOKEN_PATH = "/token?service=tests&scope=repository%3Ateam%2Fapp%3Apull"


def test_gets_a_token_and_keeps_it(server: Registry) -> None:
    server.fault(ROOT, challenge(server, scope="repository:team/app:pull"))
    server.always(TOKEN_PATH, token("t0"))
    source = image(server, auths={server.host: "me:secret"})
    assert source.root().raw == MANIFEST
    assert fetch(source) == BLOB
    assert server.log.authorizations(TOKEN_PATH) == [basic("me:secret")]
    assert server.log.authorizations(ROOT) == ["", "Bearer t0"]
    assert server.log.authorizations(BLOB_PATH) == ["Bearer t0"]


CUT = Answer(200, b'{"token": "t', {"Content-Length": "20"})


def test_a_token_that_breaks_off_is_asked_for_again(server: Registry) -> None:
    for path in (ROOT, BLOB_PATH):
        server.fault(path, challenge(server), challenge(server))
    server.fault(TOKEN_PATH, CUT, token("t0"))
    source = image(server)
    assert source.root().raw == MANIFEST
    assert server.log.authorizations(ROOT) == ["", "", "Bearer t0"]
    server.fault(TOKEN_PATH, CUT, token("t1"))
    assert fetch(source) == BLOB
    assert server.log.authorizations(BLOB_PATH) == ["Bearer t0", "Bearer t0", "Bearer t1"]


def test_a_token_that_always_breaks_off_is_given_up(server: Registry) -> None:
    server.always(ROOT, challenge(server))
    server.always(TOKEN_PATH, CUT)
    with pytest.raises(DependencyError, match="was lost after 12 bytes"):
        image(server).root()
    assert len(server.log.authorizations(TOKEN_PATH)) == 1 + QUICK.retries


def test_an_expired_token_is_asked_for_again(server: Registry) -> None:
    for path in (ROOT, BLOB_PATH):
        server.fault(path, challenge(server))
    server.fault(TOKEN_PATH, token("t0", "access_token"), token("t1", "access_token"))
    source = image(server)
    assert source.root().raw == MANIFEST
    assert fetch(source) == BLOB
    assert server.log.authorizations(BLOB_PATH) == ["Bearer t0", "Bearer t1"]
    assert server.log.authorizations(TOKEN_PATH) == ["", ""]


@pytest.mark.parametrize(
    "headers",
    [
        ['Bearer realm="{r}",service="tests", Basic realm="x"'],
        ['Basic realm="x", Bearer realm="{r}",service="tests"'],
        ["Basic realm=x", "Negotiate", "bearer REALM = {r} , Service = tests"],
        ['Digest nonce="Bearer", Bearer service=tests,realm="{r}"'],
    ],
)
def test_bearer_goes_before_basic_wherever_it_is(server: Registry, headers: list[str]) -> None:
    sent = [text.format(r=f"{server.url}/token") for text in headers]
    server.fault(ROOT, Answer(401, headers={"WWW-Authenticate": sent}))
    server.always(TOKEN_PATH, token("t0"))
    image(server, auths={server.host: "me:x"}).root()
    assert server.log.authorizations(TOKEN_PATH) == [basic("me:x")]
    assert server.log.authorizations(ROOT) == ["", "Bearer t0"]


def test_basic_is_left_when_the_token_server_fails(server: Registry) -> None:
    both = f'Bearer realm="{server.url}/none", Basic realm="x"'
    server.fault(ROOT, Answer(401, headers={"WWW-Authenticate": both}))
    image(server, auths={server.host: "me:x"}).root()
    assert server.log.authorizations(ROOT) == ["", basic("me:x")]


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("form", ["basic", "bearer"])
def test_a_stored_login_is_tried_where_private_images_are_hidden(
    server: Registry, status: int, form: str
) -> None:
    server.always("/v2/", challenge(server) if form == "bearer" else BASIC)
    server.fault("/v2/", RIGHT)  # the first one is asked which scheme it speaks
    server.fault(ROOT, Answer(status))
    server.always(TOKEN_PATH, token("t0"))
    source = image(server, auths={server.host: "me:x"})
    expected = "Bearer t0" if form == "bearer" else basic("me:x")
    assert source.root().raw == MANIFEST
    assert fetch(source) == BLOB
    assert server.log.authorizations(ROOT) == ["", expected]
    assert server.log.authorizations(BLOB_PATH) == [expected]


@pytest.mark.parametrize("auths", [{}, {"other.example": "me:x"}])
def test_what_is_hidden_and_has_no_login_is_not_there(
    server: Registry, auths: Mapping[str, str]
) -> None:
    server.always("/v2/", BASIC)
    server.fault("/v2/", RIGHT)
    server.always(ROOT, Answer(404))
    source = image(server, auths=auths)
    for _ in range(3):
        with pytest.raises(NotFoundError, match="is not in the registry") as caught:
            source.root()
    assert "log in" in caught.value.hint
    # The registry is asked once what it wants, and a login that cannot help is not tried again.
    assert server.log.authorizations(ROOT) == [""] * 3
    assert len(server.log.authorizations("/v2/")) == 2


def test_a_login_that_is_refused_leaves_what_is_hidden_hidden(server: Registry) -> None:
    server.always("/v2/", challenge(server))
    server.fault("/v2/", RIGHT)
    server.always(ROOT, Answer(404))
    server.always(TOKEN_PATH, Answer(401))
    source = image(server, auths={server.host: "me:x"})
    for _ in range(3):
        with pytest.raises(NotFoundError):
            source.root()
    assert len(server.log.authorizations(TOKEN_PATH)) == 1


def test_an_open_registry_is_asked_for_its_challenge_once(registry: Registry) -> None:
    source = image(registry, auths={registry.host: "me:x"})
    for _ in range(3):
        with pytest.raises(NotFoundError):
            source.root()
    assert len(registry.log.at("/v2/")) == 2
    assert set(registry.log.authorizations(ROOT)) == {""}


def test_an_identity_token_is_exchanged(server: Registry) -> None:
    server.fault(ROOT, challenge(server, realm=f"{server.url}/oauth2?a=b"))
    server.always("/oauth2?a=b", token("t0", "access_token"))
    source = image(server, auths={server.host: {"identitytoken": "re+fresh"}})
    assert source.root().raw == MANIFEST
    assert server.log.authorizations(ROOT) == ["", "Bearer t0"]
    (asked,) = server.log.at("/oauth2?a=b")
    assert (asked.method, asked.authorization) == ("POST", "")
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["refresh_token"],
        "service": ["tests"],
        "client_id": ["imager"],
        "scope": ["repository:team/app:pull"],
        "refresh_token": ["re+fresh"],
    }


def test_a_registry_token_is_sent_as_it_is(server: Registry) -> None:
    server.fault(ROOT, challenge(server))
    image(server, auths={server.host: {"registrytoken": "t1"}}).root()
    assert server.log.authorizations(ROOT) == ["", "Bearer t1"]
    assert server.log.authorizations(TOKEN_PATH) == []


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Answer(400), "refuses the stored credentials"),
        (Answer(401), "refuses the stored credentials"),
        (Answer(404), "does not accept identity tokens"),
        (Answer(405), "does not accept identity tokens"),
    ],
)
def test_identity_tokens_that_are_refused(server: Registry, reply: Answer, why: str) -> None:
    server.always(ROOT, challenge(server))
    server.always("/token", reply)
    with pytest.raises(InputError, match=why):
        image(server, auths={server.host: {"identitytoken": "x"}}).root()
    assert [each.method for each in server.log.at("/token")] == ["POST"]


def test_a_token_is_no_password(server: Registry) -> None:
    server.always(ROOT, BASIC)
    with pytest.raises(InputError, match="the stored login is a token"):
        image(server, auths={server.host: {"identitytoken": "secret"}}).root()
    assert server.log.authorizations(ROOT) == [""]


def test_the_challenge_of_another_host_is_not_answered(server: Registry) -> None:
    """Else the registry's login would go to a token server that a third one names."""
    with running_programmable() as other:
        other.always("/blob", challenge(other))
        server.always(BLOB_PATH, Answer(307, headers={"Location": f"{other.url}/blob"}))
        source = image(server, auths={server.host: "me:secret"})
        with pytest.raises(InputError, match="HTTP 401"):
            fetch(source)
        (asked,) = other.log.requests
        assert (asked.target, asked.authorization) == ("/blob", "")


Make = Callable[[Registry], Mapping[str, Fault]]


@pytest.mark.parametrize(
    ("make", "kind", "why"),
    [
        (
            lambda s: {ROOT: challenge(s)},
            DependencyError,
            "/app:v1: .* returned no token: HTTP 404",
        ),
        (
            lambda s: {ROOT: challenge(s), TOKEN_PATH: Answer(401)},
            InputError,
            "/team/app:v1: .* refuses anonymous access",
        ),
        (
            lambda s: {ROOT: challenge(s), TOKEN_PATH: token("t")},
            InputError,
            "refuses access: HTTP 401",
        ),
        (
            lambda s: {ROOT: challenge(s), TOKEN_PATH: Answer(200, b"{}")},
            DependencyError,
            "the token from .* is not valid",
        ),
        (
            lambda s: {ROOT: challenge(s), TOKEN_PATH: token("a\nb: c")},
            DependencyError,
            "is not valid",
        ),
        (
            lambda s: {ROOT: challenge(s), TOKEN_PATH: Answer(200, b"<html>")},
            DependencyError,
            "/team/app:v1: 127.0.0.1:[0-9]+ returned no token: its response is not valid JSON",
        ),
        (
            lambda s: {ROOT: challenge(s), TOKEN_PATH: Answer(200, b'{"token": 1}')},
            DependencyError,
            "returned no token: its response: token must be a string",
        ),
        (
            lambda s: {ROOT: challenge(s, realm="file:///etc/passwd")},
            DependencyError,
            "refers to 'file:///etc/passwd', which is not a valid URL",
        ),
        (
            lambda s: {ROOT: challenge(s, realm="https://[x/")},
            DependencyError,
            "refers to 'https://.x/': Invalid IPv6",
        ),
        (
            lambda _: {ROOT: BASIC},
            InputError,
            "requires a login",
        ),
        (
            lambda _: {ROOT: Answer(401, headers={"WWW-Authenticate": "Negotiate"})},
            DependencyError,
            "unsupported authentication scheme: negotiate",
        ),
        (lambda _: {ROOT: Answer(401)}, InputError, "sent no authentication challenge"),
    ],
)
def test_refused_logins(server: Registry, make: Make, kind: type[ImagerError], why: str) -> None:
    for path, fault in make(server).items():
        server.always(path, fault)
    with pytest.raises(kind, match=why) as caught:
        image(server).root()
    assert len(server.log.authorizations(ROOT)) <= 2
    assert caught.value.message.count("/team/app:v1") <= 1


@pytest.mark.parametrize(
    ("reply", "login", "hint"),
    [
        (Answer(200, b"<html>"), None, "a login page may be answering"),
        (Answer(429), None, "wait, or log in"),
        (Answer(418), None, "contact its operator"),
        (Answer(403), "me:old", "log in again"),
        (Answer(403), None, "check the image's name, or log in"),
    ],
)
def test_what_to_do_without_a_token(
    server: Registry, reply: Answer, login: str | None, hint: str
) -> None:
    server.always(ROOT, challenge(server))
    server.always(TOKEN_PATH, reply)
    with pytest.raises(ImagerError) as caught:
        image(server, auths={server.host: login} if login else None).root()
    assert hint in caught.value.hint


def test_credentials_do_not_follow_a_redirect_to_another_server(server: Registry) -> None:
    with running_programmable() as other:
        other.always("/blob", Answer(200, BLOB))
        server.fault(ROOT, challenge(server))
        server.always(TOKEN_PATH, token("t0"))
        server.always(BLOB_PATH, Answer(307, b"moved", {"Location": f"{server.url}/here"}))
        endless = {"Location": f"{other.url}/blob", "Content-Length": str(1 << 40)}
        server.always("/here", Answer(302, b"x" * 999, endless, stall=True))
        source = image(server)
        source.root()
        assert fetch(source) == BLOB
        assert server.log.authorizations("/here") == ["Bearer t0"]
        assert other.log.authorizations("/blob") == [""]


def test_other_secrets_do_not_follow_a_redirect_either(server: Registry) -> None:
    with running_programmable() as other:
        other.always("/x", Answer())
        server.always("/x", Answer(302, headers={"Location": f"{other.url}/x"}))
        sent = {"X-Key": "secret", "Range": "bytes=1-", "Accept": "a/b"}
        transport = HttpTransport(patience=QUICK)
        with transport.request("GET", f"{server.url}/x", headers=sent) as response:
            assert response.status == 200
        (seen,) = other.log.requests
    assert "x-key" not in seen.headers
    assert (seen.range, seen.headers["accept"]) == ("bytes=1-", "a/b")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (BLOB_PATH, "more than 5 redirects"),
        ("file:///etc/passwd", "refers to 'file:///etc/passwd'"),
        ("http://user:secret@127.0.0.1:1/", "refers to 'http://user"),
        ("https://[x/", "Invalid IPv6"),
    ],
)
def test_redirects_are_bounded(server: Registry, target: str, why: str) -> None:
    server.always(BLOB_PATH, Answer(302, headers={"Location": target}))
    with pytest.raises(DependencyError, match=why):
        fetch(image(server))
    assert len(server.log.authorizations(BLOB_PATH)) <= 6


def test_no_redirect_leads_out_of_tls(tmp_path: Path, server: Registry) -> None:
    with running_programmable(make_certificate(tmp_path)) as secure:
        secure.always("/a", Answer(302, headers={"Location": f"{server.url}/a"}))
        server.always("/a", Answer())
        certificate = tmp_path / "cert.pem"
        transport = HttpTransport(tls=TlsSettings(ca_files=(certificate,)), patience=QUICK)
        url = f"{secure.url}/a"
        with (
            pytest.raises(DependencyError, match=r"refers to http://.*not encrypted"),
            transport.request("GET", url, headers={}),
        ):
            pass
    assert server.log.requests == []


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Registry]:
    """A registry with the image team/app:v1 and TLS; its certificate is in cert.pem."""
    with running_programmable(make_certificate(tmp_path)) as running:
        yield fill(running)


def over_tls(secure: Registry, tls: TlsSettings) -> RemoteImage:
    """The image of a registry whose root is asked by TLS alone."""
    root = f"{secure.url}/v2"
    host = secure.host
    hosts = Hosts(mirrors={host: (root,)}, tls=tls)
    transport = HttpTransport(tls=tls, patience=QUICK)
    client = RegistryClient(
        credentials=CredentialStore.of(host, Credential("me", "x")),
        hosts=hosts,
        patience=QUICK,
        connect=lambda _: transport,
    )
    return client.image(Reference.parse(f"{host}/team/app:v1"))


@pytest.mark.parametrize("verify", [True, False])
def test_a_plain_token_server_behind_tls(
    server: Registry, secure: Registry, tmp_path: Path, verify: bool
) -> None:
    """--insecure takes it: who takes any certificate is no safer with TLS."""
    (secure.always if verify else secure.fault)(ROOT, challenge(server))
    server.always(TOKEN_PATH, token("t0"))
    tls = TlsSettings(verify=verify, ca_files=(tmp_path / "cert.pem",))
    if not verify:
        assert over_tls(secure, tls).root().raw == MANIFEST
        assert server.log.authorizations(TOKEN_PATH) == [basic("me:x")]
        return
    with pytest.raises(DependencyError, match=r"refers to http://.*not encrypted") as caught:
        over_tls(secure, tls).root()
    assert "--insecure" in caught.value.hint
    assert server.log.requests == []


@pytest.mark.parametrize("verify", [True, False])
def test_a_plain_storage_behind_tls(
    server: Registry, secure: Registry, tmp_path: Path, verify: bool
) -> None:
    secure.always(BLOB_PATH, Answer(307, headers={"Location": f"{server.url}/blob"}))
    server.always("/blob", Answer(200, BLOB))
    tls = TlsSettings(verify=verify, ca_files=(tmp_path / "cert.pem",))
    if not verify:
        assert fetch(over_tls(secure, tls)) == BLOB
        return
    with pytest.raises(DependencyError, match=r"refers to http://.*not encrypted"):
        fetch(over_tls(secure, tls))
    assert server.log.requests == []


def test_a_registry_behind_a_proxy_that_ends_tls_names_itself(
    secure: Registry, tmp_path: Path
) -> None:
    plain = f"http://127.0.0.1:{secure.port}"
    secure.fault(ROOT, challenge(secure, realm=f"{plain}/token"))
    secure.always(TOKEN_PATH, token("t0"))
    secure.always(BLOB_PATH, Answer(307, headers={"Location": f"{plain}/blob"}))
    secure.always("/blob", Answer(200, BLOB))
    source = over_tls(secure, TlsSettings(ca_files=(tmp_path / "cert.pem",)))
    assert source.root().raw == MANIFEST
    assert fetch(source) == BLOB


def test_netrc_stays_at_home(
    server: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    image(server).root()
    assert server.log.authorizations(ROOT) == [""]
