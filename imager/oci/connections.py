"""Connection pools for hosts, reused between requests, through the proxies of the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import PoolManager, ProxyManager
from urllib3.util import parse_url

from imager.oci.credentials import Credential
from imager.oci.tls import TlsSettings
from imager.support.workers import OnceEach

# More than the number of threads, and than the number of hosts in one run.
_KEPT = 64


class Connections:
    """Connection pools for any number of hosts, with the TLS settings `tls`; thread-safe."""

    def __init__(self, tls: TlsSettings) -> None:
        self._tls = tls
        self._managers = OnceEach(self._manager)

    def to(self, url: str) -> PoolManager:
        """Return the pool for `url`: that of its host or of a proxy.

        Raises InputError when a file of the TLS settings is invalid, urllib3's HTTPError when the
        URL of the proxy is invalid.
        """
        return self._managers.get((urlsplit(url).scheme, proxy_for(url)))

    def _manager(self, place: tuple[str, str | None]) -> PoolManager:
        scheme, proxy = place
        # Skip this for plain HTTP: loading the system's certificates can take longer than the
        # request.
        context = self._tls.context() if scheme == "https" else None
        if proxy is None:
            return PoolManager(_KEPT, maxsize=_KEPT, ssl_context=context)
        login = parse_url(proxy).auth
        user, _, password = unquote(login or "").partition(":")
        headers = {"Proxy-Authorization": Credential(user, password).basic} if login else {}
        return ProxyManager(proxy, _KEPT, maxsize=_KEPT, ssl_context=context, proxy_headers=headers)


def proxy_for(url: str) -> str | None:
    """Return the URL of the environment's proxy for `url`, None without a proxy.

    $HTTP_PROXY, $HTTPS_PROXY and $ALL_PROXY name it; lower-case names take precedence. $NO_PROXY
    lists the hosts to connect to directly: names, which include their subdomains, addresses and
    networks (10.0.0.0/8), or `*`.
    """
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc, proxies):
        return None
    if _in_networks(parts.hostname or "", proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _in_networks(host: str, listed: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _networks(listed))


def _networks(listed: str) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for text in listed.split(","):
        with suppress(ValueError):  # a name
            yield ipaddress.ip_network(text.strip(), strict=False)
