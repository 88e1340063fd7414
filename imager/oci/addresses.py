"""Where a registry may refer to: a server on the Internet not into a private network.

A token server, a redirect, the Location of an upload and the URLs of a foreign layer are named by
the registry. A hostile one could name services that only this machine reaches (server-side request
forgery, CWE-918). Address ranges are those of the IANA registries that `ipaddress` knows.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from imager.oci.errors import UnsafeAddressError
from imager.support.errors import DependencyError

Address = IPv4Address | IPv6Address
Resolve = Callable[[str], Iterable[str]]

_METADATA_HINT = (
    "no registry needs it: if this one is yours, correct the address in its settings or in the "
    "layer's urls; else do not use it"
)
_INTERNAL_HINT = (
    "only a registry at an internal address may name servers at internal addresses; use the "
    "registry's internal name, or a mirror there"
)
_UNKNOWN_HINT = (
    "only a registry at an internal address may name servers at internal addresses, and the "
    "address of this one is not known here: if it is internal, add its name to NO_PROXY"
)

# Cloud services that return the machine's own credentials or settings: AWS, Azure, Google and
# others by the first one; AWS's containers and IPv6; Azure, Google, Oracle, Scaleway; Alibaba and
# Tencent Cloud. Azure's second one and Oracle's first are not of a private range.
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
# Names that need no looking up: RFC 6761, section 6.3, and Google's metadata service.
_KNOWN_NAMES = {"localhost": "127.0.0.1", "metadata.google.internal": "169.254.169.254"}
# IPv4 addresses in the last 32 bits of IPv6: RFC 6052, section 2.1; RFC 4291, section 2.5.5.1;
# RFC 2765, section 2.1.
_ENDING_IN_IPV4 = tuple(map(ip_network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
# What ipaddress takes for public: RFC 8215; RFC 3879.
_NOT_GLOBAL = tuple(map(ip_network, ("64:ff9b:1::/48", "fec0::/10")))


def resolve_host(name: str) -> Iterable[str]:
    """Return the addresses of a host, none when it has none that is known here."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return [str(entry[4][0]) for entry in found]


def only_literal(name: str) -> Iterable[str]:
    """Return the address that `name` itself is or stands for: for hosts that a proxy looks up."""
    plain = name.rstrip(".").lower()
    known = "localhost" if plain.endswith(".localhost") else plain
    return (_KNOWN_NAMES.get(known, name),)


def check_destination(
    origin: str, url: str, resolve: Resolve, *, resolve_origin: Resolve | None = None
) -> None:
    """Raise DependencyError when `origin`, a registry's URL, must not refer to `url`.

    Addresses for private use, of this machine and of the local network are for registries that
    have such an address themselves; those of clouds' metadata services are for none. `resolve`
    looks up the host of `url`, and that of `origin` unless `resolve_origin` does.
    """
    here, there = urlsplit(origin), urlsplit(url)
    if (here.hostname, here.port) == (there.hostname, there.port):
        return
    found = _addresses(there.hostname or "", resolve)
    metadata = next((each for each in found if each in _METADATA), None)
    if metadata is not None:
        raise _refused(origin, url, f"{metadata}, the metadata service of a cloud", _METADATA_HINT)
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
    """Whether an address is not of the public Internet."""
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
    try:
        return ip_address(text)
    except ValueError:
        return _old_spelling(text)


def _old_spelling(text: str) -> IPv4Address | None:
    """Return an IPv4 address written as inet_aton(3) takes it: in fewer, hex or octal numbers."""
    try:
        return IPv4Address(socket.inet_aton(text))
    except (OSError, ValueError):
        return None


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, else the address."""
    if isinstance(address, IPv4Address):
        return address
    # ::1 and :: are no such addresses.
    if int(address) > 1 and any(address in network for network in _ENDING_IN_IPV4):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
