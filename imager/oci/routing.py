"""Where a request goes: a host of the registry, over which connection and to which URL."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from imager.oci.client import Request
from imager.oci.endpoint import Endpoint, Hosts
from imager.oci.reference import Reference
from imager.oci.retry import READING
from imager.oci.tls import TlsSettings
from imager.oci.transport import Response, Transport, same_origin
from imager.support.workers import OnceEach

# What a token allows: actions of the token specification's scopes.
PULL = "pull"
PUSH = "pull,push"
# Makes the transport for hosts with these settings.
Connect = Callable[[TlsSettings], Transport]


@dataclass(frozen=True, slots=True)
class Route:
    """A request on its way to `url`, which is in the API at `root` or was given by a registry.

    `reference` is what the host at `root` calls the image.
    """

    transport: Transport
    endpoint: Endpoint
    root: str
    url: str
    reference: Reference
    request: Request

    @property
    def registry(self) -> str:
        """The host's name."""
        return self.reference.registry

    @property
    def is_own(self) -> bool:
        """Whether the URL is the host's own: no other server gets its logins and headers."""
        return same_origin(self.root, self.url)

    @property
    def actions(self) -> str:
        """The scope to ask for where a challenge names none."""
        return PULL if self.request.method in READING else PUSH

    def send(self, authorization: str | None) -> AbstractContextManager[Response]:
        """Send the request, with an Authorization header if there is one; see Transport."""
        headers = dict(self.endpoint.headers if self.is_own else ()) | dict(self.request.headers)
        return self.transport.request(
            self.request.method,
            self.url,
            headers=headers | ({"Authorization": authorization} if authorization else {}),
            body=self.request.body,
            origin=self.root if "://" in self.request.path else "",
        )


class Router:
    """Finds the routes of requests; several threads may share it."""

    def __init__(self, hosts: Hosts, connect: Connect) -> None:
        self.hosts = hosts
        self._transports = OnceEach(connect)
        self._roots = OnceEach(self._find_root)

    def route(self, reference: Reference, request: Request, endpoint: Endpoint | None) -> Route:
        """Return the route to `endpoint`, or to the registry itself."""
        endpoint = endpoint or self.hosts.endpoints(reference.registry)[-1]
        root = self._roots.get(endpoint)
        return Route(
            self._transports.get(endpoint.tls),
            endpoint,
            root,
            endpoint.url(root, reference.repository, request.path),
            endpoint.local(reference),
            request,
        )

    def answers(self, url: str, endpoint: Endpoint) -> bool:
        """Whether there is a server at a URL that `endpoint` gave; see Transport."""
        return self._transports.get(endpoint.tls).answers(url, origin=self._roots.get(endpoint))

    def _find_root(self, endpoint: Endpoint) -> str:
        *others, last = endpoint.roots
        # When none answers, the request itself says why.
        transport = self._transports.get(endpoint.tls)
        found = (root for root in endpoint.roots if transport.answers(f"{root}/"))
        return next(found, endpoint.roots[0]) if others else last
