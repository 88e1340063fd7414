"""Checks on the addresses that a registry may refer to.

The registry names the token server, the target of a redirect, the Location of an upload and the
URLs of a foreign layer. A hostile registry could name services that only this machine can reach
(server-side request forgery, CWE-918), so a registry on the Internet must not refer to a private
network. Address ranges are those of the IANA registries in `ipaddress`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from imager.oci.errors import UnsafeAddressError
from imager.support.errors import DependencyError

Address = IPv4Address | IPv6Address
Resolve = Callable[[str], Iterable[str]]

_METADATA_HINT = (
    "no registry needs access to it: correct the address in the registry's settings or in the "
    "layer's urls, or use another registry"
)
_INTERNAL_HINT = (
    "only a registry at an internal address may refer to internal addresses: use the registry's "
    "internal name, or a mirror in that network"
)
_UNKNOWN_HINT = (
    "only a registry at an internal address may refer to internal addresses, and behind the proxy "
    "the address of this one is unknown: if it is internal, add its name to NO_PROXY"
)

# Cloud services that return the machine's own credentials or settings. The first address is that of
# AWS, Azure, Google and others; then AWS's containers and IPv6; Azure, Google, Oracle, Scaleway;
# Alibaba and Tencent Cloud. Azure's second address and Oracle's first are outside the private
# ranges.
_METADATA = frozenset(
    map(
        ip_address,
        (
            *("169.254.169.254", "169.254.170.2", "169.254.170.23"),
            *("fd00:ec2::254", "fd00:ec2::23", "168.63.129.16", "fd20:ce::254"),
            *("192.0.0.192", "fd00:c1::a9fe:a9fe", "169.254.42.42", "fd00:42::42"),
            *("100.100.100.200", "169.254.0.23"),
        ),
    )
)
# Names resolved without DNS: RFC 6761, section 6.3, and Google's metadata service.
_KNOWN_NAMES = {"localhost": "127.0.0.1", "metadata.google.internal": "169.254.169.254"}
# IPv6 networks with an IPv4 address in the last 32 bits: RFC 6052, section 2.1; RFC 4291, section
# 2.5.5.1; RFC 2765, section 2.1.
_ENDING_IN_IPV4 = tuple(map(ip_network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
# Networks that ipaddress wrongly reports as global: RFC 8215; RFC 3879.
_NOT_GLOBAL = tuple(map(ip_network, ("64:ff9b:1::/48", "fec0::/10")))


def resolve_host(name: str) -> Iterable[str]:
    """Return the addresses of a host; empty when the name does not resolve."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return [str(entry[4][0]) for entry in found]


def only_literal(name: str) -> Iterable[str]:
    """Resolve only literal addresses and well-known names, for hosts that a proxy looks up."""
    plain = name.rstrip(".").lower()
    known = "localhost" if plain.endswith(".localhost") else plain
    return (_KNOWN_NAMES.get(known, name),)


def check_destination(
    origin: str, url: str, resolve: Resolve, *, resolve_origin: Resolve | None = None
) -> None:
    """Raise DependencyError when `origin`, a registry's URL, must not refer to `url`.

    Only a registry with an internal address itself may refer to internal addresses: private ranges,
    this machine and the local network. No registry may refer to a cloud's metadata service.
    `resolve` looks up the host of `url`, and that of `origin` unless `resolve_origin` is given.
    """
    here, there = urlsplit(origin), urlsplit(url)
    if (here.hostname, here.port) == (there.hostname, there.port):
        return
    found = _addresses(there.hostname or "", resolve)
    metadata = next((each for each in found if each in _METADATA), None)
    if metadata is not None:
        raise _refused(origin, url, f"{metadata}, a cloud metadata service", _METADATA_HINT)
    internal = next((each for each in found if is_internal(each)), None)
    if internal is None:
        return
    own = _addresses(here.hostname or "", resolve_origin or resolve)
    if not any(map(is_internal, own)):
        raise _refused(
            origin,
            url,
            f"the internal address {internal}",
            _INTERNAL_HINT if own else _UNKNOWN_HINT,
        )


def is_internal(address: Address) -> bool:
    """Return whether an address is outside the public Internet."""
    listed = any(address in network for network in _NOT_GLOBAL)
    return listed or not address.is_global or address.is_multicast


def _refused(origin: str, url: str, where: str, hint: str) -> DependencyError:
    here, there = urlsplit(origin).netloc, urlsplit(url).netloc
    return UnsafeAddressError(f"{here} refers to {there}, which is at {where}", hint=hint)


def _addresses(host: str, resolve: Resolve) -> list[Address]:
    literal = _parsed(host)
    found = [literal] if literal else [_parsed(text) for text in resolve(host)]
    return [_unwrapped(each) for each in found if each]


def _parsed(text: str) -> Address | None:
    text = text.partition("%")[0].rstrip(".")
    with suppress(ValueError):
        return ip_address(text)
    # inet_aton(3) also accepts fewer than four parts, octal and hexadecimal numbers.
    with suppress(OSError, ValueError):
        return IPv4Address(socket.inet_aton(text))
    return None


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address embedded in an IPv6 address, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    # ::1 and :: embed no IPv4 address.
    if int(address) > 1 and any(address in network for network in _ENDING_IN_IPV4):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
