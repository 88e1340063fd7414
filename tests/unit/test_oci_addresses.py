"""Where registries may send clients: not into internal networks, and never to metadata services."""

from __future__ import annotations

from contextlib import suppress

import pytest

from imager.oci.addresses import check_destination, only_literal
from imager.oci.httptransport import HttpTransport
from imager.oci.transport import follow
from imager.support.errors import DependencyError
from tests.lib.registries.client import QUICK, fetch, image
from tests.lib.registries.programmable import Registry
from tests.lib.registries.sample import BLOB_PATH, ROOT
from tests.lib.registries.tokens import challenge
from tests.lib.servers.messages import Answer

NAMES = {
    "public.example": ["93.184.216.34", "2606:2800:220:1::1"],
    "token.example": ["1.1.1.1"],
    "internal.example": ["10.1.2.3"],
    "mixed.example": ["1.1.1.1", "192.168.0.7"],
    "metadata.example": ["169.254.169.254"],
    "link.example": ["fe80::1%eth0"],
    "localhost": ["127.0.0.1", "::1"],
    "localhost.": ["127.0.0.1"],
}
INTERNAL = [
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1", "0.0.0.0", "100.64.0.1"),
    *("[::1]", "[fe80::1]", "[fc00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]"),
    *("[::]", "224.0.0.1", "255.255.255.255", "localhost", "internal.example", "mixed.example"),
    *("link.example", "10.0.0.1:8443", "0x7f000001", "127.1", "0177.0.0.1", "012.1", "10.0.0.1."),
    *("[64:ff9b:1::1]", "[::7f00:1]", "[::ffff:0:a00:1]", "[fec0::1]", "localhost."),
]
METADATA = [
    *("169.254.169.254", "169.254.169.254:80", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"),
    *("[64:ff9b::a9fe:a9fe]", "100.100.100.200", "169.254.170.2", "metadata.example"),
    *("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "[::a9fe:a9fe]"),
    *("[2002:a9fe:a9fe::]", "[fd20:ce::254]", "168.63.129.16", "192.0.0.192", "[fd00:42::42]"),
]
PUBLIC = ["1.1.1.1", "token.example", "unknown.example", "[2606:4700::1111]", "8.8.8.8:443"]


def resolve(name: str) -> list[str]:
    return NAMES.get(name, [])


def check(origin: str, target: str) -> None:
    check_destination(f"https://{origin}/v2", f"https://{target}/token", resolve)


@pytest.mark.parametrize("target", INTERNAL)
def test_only_an_internal_registry_names_internal_servers(target: str) -> None:
    with pytest.raises(DependencyError, match="at the internal address") as caught:
        check("public.example", target)
    assert caught.value.message.startswith("public.example refers to ")
    for origin in ("10.9.9.9", "internal.example", "localhost", "127.0.0.1:5000", "mixed.example"):
        check(origin, target)


@pytest.mark.parametrize("target", METADATA)
def test_nobody_names_a_metadata_service(target: str) -> None:
    for origin in ("public.example", "10.9.9.9", "127.0.0.1:5000", "169.254.1.1"):
        with pytest.raises(DependencyError, match="a cloud metadata service"):
            check(origin, target)


@pytest.mark.parametrize("target", PUBLIC)
def test_public_servers(target: str) -> None:
    for origin in ("public.example", "unknown.example", "10.9.9.9"):
        check(origin, target)


def test_a_registry_names_itself() -> None:
    check("10.0.0.1:5000", "10.0.0.1:5000")
    inside = {"public.example": ["10.0.0.1"]}
    check_destination("https://public.example/v2", "https://public.example/t", inside.__getitem__)


@pytest.mark.parametrize(
    ("origin", "target", "does", "does_not"),
    [
        ("public.example", "10.0.0.1", "use the registry's internal name", "correct"),
        ("10.9.9.9", "169.254.169.254", "correct the address", "internal"),
        ("unknown.example", "10.0.0.1", "add its name to NO_PROXY", "mirror"),
    ],
)
def test_the_hint_fits(origin: str, target: str, does: str, does_not: str) -> None:
    with pytest.raises(DependencyError) as caught:
        check(origin, target)
    assert does in caught.value.hint
    assert does_not not in caught.value.hint


def test_what_a_proxy_looks_up_is_not_looked_up_here() -> None:
    check_destination("https://public.example", "https://internal.example", only_literal)


LITERAL = [each for each in (*INTERNAL, *METADATA) if not each.endswith(".example")]


@pytest.mark.parametrize("target", [*LITERAL, "metadata.google.internal", "a.localhost"])
def test_what_needs_no_looking_up_is_refused_through_a_proxy_too(target: str) -> None:
    url = f"https://{target}"
    with pytest.raises(DependencyError, match="which is at"):
        check_destination("https://public.example", url, only_literal)


@pytest.mark.parametrize(("direct", "allowed"), [("registry.example", True), ("other", False)])
def test_each_host_is_looked_up_where_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, direct: str, allowed: bool
) -> None:
    """An internal registry without the proxy may name an internal server behind it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", direct)
    looked_up = {"registry.example": ["10.0.0.1"]}
    transport = HttpTransport(patience=QUICK, resolve=lambda name: looked_up.get(name, []))
    why = "no answer from 10.0.0.2" if allowed else "at the internal address 10.0.0.2"
    with (
        pytest.raises(DependencyError, match=why),
        transport.request(
            "GET", "http://10.0.0.2/token", headers={}, origin="http://registry.example"
        ),
    ):
        pass


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254\\.public.example/",
        "http://169.254.169.25%34/",
        "http://public.example\\@10.0.0.1/",
        "http://[fe80::1%25eth0]/",
        "http://\uff11\uff10.0.0.1/",
        "http://a b/",
        "http://:80/",
    ],
)
def test_a_url_whose_host_readers_see_differently_is_refused(target: str) -> None:
    with pytest.raises(DependencyError, match="which is not a valid URL"):
        follow("https://public.example/v2/", target)


@pytest.mark.parametrize("place", ["realm", "redirect", "token redirect"])
@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/"])
def test_nothing_is_asked_of_a_metadata_service(server: Registry, place: str, target: str) -> None:
    realm = target if place == "realm" else f"{server.url}/token"
    server.fault(ROOT, challenge(server, realm=realm, service="s"))
    moved = Answer(307, headers={"Location": target})
    server.always(BLOB_PATH, moved)
    server.always("/token?service=s&scope=repository%3Ateam%2Fapp%3Apull", moved)
    source = image(server, auths={server.host: "me:x"})
    with pytest.raises(DependencyError, match="a cloud metadata service"):
        fetch(source) if place == "redirect" else source.root()


def test_a_blob_is_not_fetched_from_an_internal_server(server: Registry) -> None:
    """The registry is at an internal address here, so names do for the outer one."""
    calls: list[str] = []

    def looked_up(name: str) -> list[str]:
        calls.append(name)
        return {"localhost": ["1.1.1.1"], "internal.example": ["10.0.0.1"]}.get(name, [])

    server.always("/a", Answer(307, headers={"Location": "http://internal.example/b"}))
    transport = HttpTransport(patience=QUICK, resolve=looked_up)
    url = f"http://localhost:{server.port}/a"
    with (
        pytest.raises(DependencyError, match=r"at the internal address 10\.0\.0\.1"),
        transport.request("GET", url, headers={}),
    ):
        pass
    assert calls == ["internal.example", "localhost"]
    with suppress(DependencyError), transport.request("GET", url, headers={}):
        pass
    assert len(calls) == 2
