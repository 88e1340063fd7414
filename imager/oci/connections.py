"""Connections to hosts, kept for the next request, through the proxies of the environment."""

from __future__ import annotations

import ipaddress
import threading
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import PoolManager, ProxyManager
from urllib3.util import parse_url

from imager.oci.credentials import Credential
from imager.oci.tls import TlsSettings

# More than there are threads, and than a run asks hosts.
_KEPT = 64


class Connections:
    """Connections to any number of hosts, as `tls` says; several threads may use them at once."""

    def __init__(self, tls: TlsSettings) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._managers: dict[tuple[str, str | None], PoolManager] = {}

    def to(self, url: str) -> PoolManager:
        """Return what asks for `url`: its host or a proxy.

        Raises InputError when a file of the TLS settings is not valid, urllib3's HTTPError when the
        proxy's own URL is not one.
        """
        place = urlsplit(url).scheme, proxy_for(url)
        with self._lock:
            if place not in self._managers:
                self._managers[place] = self._manager(*place)
            return self._managers[place]

    def _manager(self, scheme: str, proxy: str | None) -> PoolManager:
        # Reading the system's certificates takes longer than many an answer: not for plain HTTP.
        context = self._tls.context() if scheme == "https" else None
        if proxy is None:
            return PoolManager(_KEPT, maxsize=_KEPT, ssl_context=context)
        login = parse_url(proxy).auth
        user, _, password = unquote(login or "").partition(":")
        headers = {"Proxy-Authorization": Credential(user, password).basic} if login else {}
        return ProxyManager(proxy, _KEPT, maxsize=_KEPT, ssl_context=context, proxy_headers=headers)


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy that the environment has for `url`, None when it has none.

    $HTTP_PROXY, $HTTPS_PROXY and $ALL_PROXY name it, in small letters before capitals; $NO_PROXY
    has the hosts that are asked directly: names, which stand for all below them, and addresses and
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


def _networks(listed: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for text in listed.split(","):
        try:
            found.append(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError:  # a name
            continue
    return found
