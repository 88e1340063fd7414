"""Where registries may send clients: not into internal networks, and never to metadata services."""

from __future__ import annotations

from contextlib import suppress

import pytest

from imager.errors import DependencyError
from imager.oci.addresses import check_destination, only_literal
from imager.oci.httptransport import HttpTransport
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
    "2852039166": ["169.254.169.254"],
    "0x7f000001": ["127.0.0.1"],
}
INTERNAL = [
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1", "0.0.0.0", "100.64.0.1"),
    *("[::1]", "[fe80::1]", "[fc00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]"),
    *("[::]", "224.0.0.1", "255.255.255.255", "localhost", "internal.example", "mixed.example"),
    *("link.example", "0x7f000001", "10.0.0.1:8443"),
]
METADATA = [
    *("169.254.169.254", "169.254.169.254:80", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"),
    *("[64:ff9b::a9fe:a9fe]", "100.100.100.200", "169.254.170.2", "metadata.example"),
    "2852039166",
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
        with pytest.raises(DependencyError, match="the metadata service of a cloud"):
            check(origin, target)


@pytest.mark.parametrize("target", PUBLIC)
def test_public_servers(target: str) -> None:
    for origin in ("public.example", "unknown.example", "10.9.9.9"):
        check(origin, target)


def test_a_registry_names_itself() -> None:
    check("10.0.0.1:5000", "10.0.0.1:5000")
    inside = {"public.example": ["10.0.0.1"]}
    check_destination("https://public.example/v2", "https://public.example/t", inside.__getitem__)


def test_what_a_proxy_looks_up_is_not_looked_up_here() -> None:
    check_destination("https://public.example", "https://internal.example", only_literal)
    with pytest.raises(DependencyError):
        check_destination("https://public.example", "https://10.0.0.1", only_literal)


@pytest.mark.parametrize("place", ["realm", "redirect", "token redirect"])
@pytest.mark.parametrize("target", ["http://169.254.169.254/latest", "http://[fd00:ec2::254]/"])
def test_nothing_is_asked_of_a_metadata_service(server: Registry, place: str, target: str) -> None:
    realm = target if place == "realm" else f"{server.url}/token"
    server.fault(ROOT, challenge(server, realm=realm, service="s"))
    moved = Answer(307, headers={"Location": target})
    server.always(BLOB_PATH, moved)
    server.always("/token?service=s&scope=repository%3Ateam%2Fapp%3Apull", moved)
    source = image(server, auths={server.host: "me:x"})
    with pytest.raises(DependencyError, match="the metadata service of a cloud"):
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
