"""The listening address of a server, and the URLs at which clients reach it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from imager.registry.interfaces import reachable_addresses
from imager.support.errors import InputError

_HINT = (
    "write it as HOST:PORT, such as 127.0.0.1:3172 or [::1]:3172; :3172 listens on all addresses"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address; `host` is a name or an IP address, empty for all addresses."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address written as `host:port`; raises InputError if it is invalid.

        Port 0 selects any free port.
        """
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            number = int(port) if colon and port.isascii() and port.isdigit() else -1
            if not 0 <= number < 1 << 16 or (bare == host and ":" in host):
                raise ValueError
            if bare != host:
                ipaddress.IPv6Address(bare)
        except ValueError as error:
            raise InputError(f"{text!r} is not an address to listen on", hint=_HINT) from error
        return cls(bare, number)

    @property
    def is_everywhere(self) -> bool:
        """Whether this is a wildcard address, which a client cannot connect to."""
        try:
            return not self.host or ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    def url(self, *, tls: bool) -> str:
        """Return the URL of a server at this address."""
        return f"http{'s' if tls else ''}://{self}"

    def reachable_urls(self, *, tls: bool) -> tuple[str, ...]:
        """Return the URLs at which clients reach the server; a wildcard has one per address."""
        hosts = reachable_addresses() if self.is_everywhere else (self.host,)
        return tuple(Address(host, self.port).url(tls=tls) for host in hosts)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "*"
        return f"{host}:{self.port}"
