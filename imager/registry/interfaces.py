"""The addresses of this machine that other machines can reach.

IPv4: netdevice(7), SIOCGIFADDR, which returns the first address of each interface. IPv6: proc(5),
/proc/net/if_inet6.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_SIOCGIFADDR = 0x8915
_NAME_SIZE = 16  # IFNAMSIZ
_INET6 = Path("/proc/net/if_inet6")


def reachable_addresses() -> tuple[str, ...]:
    """Return the IP addresses of all interfaces, except loopback and link-local ones."""
    found: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...] = (*_ipv4(), *_ipv6())
    return tuple(str(each) for each in found if not (each.is_loopback or each.is_link_local))


def _ipv4() -> Iterator[ipaddress.IPv4Address]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asked:
        for _, name in socket.if_nameindex():
            request = struct.pack(f"{_NAME_SIZE}s24x", name.encode()[: _NAME_SIZE - 1])
            try:
                answer = fcntl.ioctl(asked, _SIOCGIFADDR, request)
            except OSError:  # no IPv4 address
                continue
            yield ipaddress.IPv4Address(answer[20:24])


def _ipv6() -> Iterator[ipaddress.IPv6Address]:
    try:
        lines = _INET6.read_text().splitlines()
    except OSError:  # the kernel has no IPv6
        return
    for line in lines:
        yield ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))
