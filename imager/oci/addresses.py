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

from imager.errors import DependencyError

Address = IPv4Address | IPv6Address
Resolve = Callable[[str], Iterable[str]]

# Services of clouds that hand out the machine's own credentials: AWS, Azure, Google and others by
# the first one; AWS's containers and IPv6; Alibaba Cloud.
_METADATA = frozenset(
    map(
        ip_address,
        (
            *("169.254.169.254", "169.254.170.2", "169.254.170.23"),
            *("fd00:ec2::254", "fd00:ec2::23", "100.100.100.200"),
        ),
    )
)
# IPv4 addresses inside of IPv6: RFC 6052, section 2.1.
_NAT64 = ip_network("64:ff9b::/96")


def resolve_host(name: str) -> Iterable[str]:
    """Return the addresses of a host, none when it has none that is known here."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return [str(entry[4][0]) for entry in found]


def only_literal(name: str) -> Iterable[str]:
    """Return the address that `name` itself is: for hosts that a proxy looks up."""
    return (name,)


def check_destination(origin: str, url: str, resolve: Resolve) -> None:
    """Raise DependencyError when `origin`, a registry's URL, must not refer to `url`.

    Addresses for private use, of this machine and of the local network are for registries that
    have such an address themselves; those of clouds' metadata services are for none.
    """
    here, there = urlsplit(origin), urlsplit(url)
    if (here.hostname, here.port) == (there.hostname, there.port):
        return
    found = _addresses(there.hostname or "", resolve)
    metadata = next((each for each in found if each in _METADATA), None)
    internal = next((each for each in found if is_internal(each)), None)
    if metadata is not None:
        raise _refused(origin, url, f"at {metadata}, the metadata service of a cloud")
    if internal is not None and not any(map(is_internal, _addresses(here.hostname or "", resolve))):
        raise _refused(origin, url, f"at the internal address {internal}")


def is_internal(address: Address) -> bool:
    """Whether an address is not of the public Internet."""
    return not address.is_global or address.is_multicast


def _refused(origin: str, url: str, where: str) -> DependencyError:
    here, there = urlsplit(origin).netloc, urlsplit(url).netloc
    return DependencyError(
        f"{here} refers to {there}, which is {where}",
        hint="only a registry at an internal address may name servers at internal addresses; "
        "use the registry's internal name, or a mirror there",
    )


def _addresses(host: str, resolve: Resolve) -> list[Address]:
    literal = _parsed(host)
    found = [literal] if literal else [_parsed(text) for text in resolve(host)]
    return [_unwrapped(each) for each in found if each]


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, else the address."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
