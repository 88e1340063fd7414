"""Which proxy the environment names for a URL, and how long is waited for an answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from imager.oci.connections import Connections, proxy_for
from imager.oci.httptransport import HttpTransport
from imager.oci.retry import Patience
from imager.oci.tls import DEFAULT_TLS
from imager.oci.transport import NoAnswerError
from imager.support.errors import DependencyError

PROXY = "http://proxy:3128"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("name", "url", "proxy"),
    [
        ("HTTP_PROXY", "http://ghcr.io/v2/", PROXY),
        ("http_proxy", "http://ghcr.io/v2/", PROXY),
        ("HTTP_PROXY", "https://ghcr.io/v2/", None),
        ("HTTPS_PROXY", "https://ghcr.io/v2/", PROXY),
        ("ALL_PROXY", "https://ghcr.io/v2/", PROXY),
        ("NO_PROXY", "https://ghcr.io/v2/", None),
    ],
)
def test_proxies_go_by_scheme(
    name: str, url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, PROXY)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize(
    ("listed", "host", "direct"),
    [
        ("ghcr.io", "ghcr.io", True),
        ("ghcr.io", "pkg.ghcr.io:443", True),
        (".ghcr.io", "pkg.ghcr.io", True),
        ("ghcr.io", "myghcr.io", False),
        ("*", "ghcr.io", True),
        ("ghcr.io:5000", "ghcr.io:5000", True),
        ("ghcr.io:5000", "ghcr.io", False),
        ("10.1.2.3", "10.1.2.3:5000", True),
        ("one, 10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("10.0.0.0/8", "registry.local", False),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("10.0.0.0/8", "[fd00::1]:5000", False),
        ("10.0.0.0/64,,/", "10.1.2.3", False),
    ],
)
def test_some_hosts_are_asked_directly(
    listed: str, host: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", listed)
    assert proxy_for(f"https://{host}/v2/") == (None if direct else PROXY)


def test_a_scheme_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "user:password@proxy:3128")
    assert proxy_for("https://ghcr.io") == "http://user:password@proxy:3128"


def test_connections_of_a_proxy_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(DEFAULT_TLS)
    direct = connections.to("https://ghcr.io/a")
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    through = connections.to("https://ghcr.io/a")
    assert through is not direct
    assert connections.to("https://quay.io/b") is through


@pytest.mark.parametrize("proxy", ["http://[::1", "http://proxy:port", "gopher://proxy"])
def test_a_proxy_that_is_none(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(HTTPError):
        Connections(DEFAULT_TLS).to("https://ghcr.io")
    with (
        pytest.raises(DependencyError, match=r"no answer from ghcr\.io") as caught,
        HttpTransport().request("GET", "https://ghcr.io/v2/", headers={}),
    ):
        pass
    assert "proxy settings" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "limits"), [(None, (3.0, 50.0)), (b"sent", (50.0, 50.0))], ids=["read", "sent"]
)
def test_a_limit_is_for_connecting_or_for_silence_not_for_the_whole(
    body: bytes | None, limits: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _limits(monkeypatch, lambda transport: _ask(transport, body)) == (None, *limits)


def test_a_probe_is_soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _limits(monkeypatch, lambda transport: transport.answers("http://ghcr.io/v2/"))
    assert found == (None, 0.5, 0.5)


def _ask(transport: HttpTransport, body: bytes | None) -> None:
    method = "GET" if body is None else "PUT"
    with transport.request(method, "http://ghcr.io/v2/", headers={}, body=body):
        pass


def _limits(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[HttpTransport], object]
) -> tuple[object, object, object]:
    """Return the limits in all, of connecting and of silence with which urllib3 is asked."""
    seen: list[Timeout] = []

    def urlopen(*_: Any, timeout: Timeout, **__: Any) -> None:
        seen.append(timeout)
        raise HTTPError("asked")

    monkeypatch.setattr(PoolManager, "urlopen", urlopen)
    with suppress(NoAnswerError):
        ask(HttpTransport(patience=Patience(connect=3.0, read=50.0, probe=0.5)))
    (timeout,) = seen
    return timeout.total, timeout.connect_timeout, timeout.read_timeout
