"""Routes requests: selects the host of the registry, the connection and the URL."""

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

# Actions that a token allows, in the scopes of the token specification.
PULL = "pull"
PUSH = "pull,push"
# Creates the transport for hosts with these settings.
Connect = Callable[[TlsSettings], Transport]


@dataclass(frozen=True, slots=True)
class Route:
    """A request to `url`, which is below the API's `root` or was given by a registry.

    `reference` is the image's name at the host of `root`.
    """

    transport: Transport
    endpoint: Endpoint
    root: str
    url: str
    reference: Reference
    request: Request

    @property
    def registry(self) -> str:
        """The name of the host."""
        return self.reference.registry

    @property
    def is_own(self) -> bool:
        """Whether the URL is at the host itself; other servers get no logins or headers of it."""
        return same_origin(self.root, self.url)

    @property
    def actions(self) -> str:
        """The scope to request when a challenge does not name one."""
        return PULL if self.request.method in READING else PUSH

    def send(self, authorization: str | None) -> AbstractContextManager[Response]:
        """Send the request, with an Authorization header if one is given; see Transport."""
        headers = dict(self.endpoint.config.headers if self.is_own else ()) | dict(
            self.request.headers
        )
        return self.transport.request(
            self.request.method,
            self.url,
            headers=headers | ({"Authorization": authorization} if authorization else {}),
            body=self.request.body,
            origin=self.root if "://" in self.request.path else "",
        )


class Router:
    """Finds the routes of requests; thread-safe."""

    def __init__(self, hosts: Hosts, connect: Connect) -> None:
        self.hosts = hosts
        self._transports = OnceEach(connect)
        self._roots = OnceEach(self._find_root)

    def route(self, reference: Reference, request: Request, endpoint: Endpoint | None) -> Route:
        """Return the route to `endpoint`, or to the registry itself."""
        endpoint = endpoint or self.hosts.endpoints(reference.registry)[-1]
        root = self._roots.get(endpoint)
        return Route(
            self._transports.get(endpoint.config.tls),
            endpoint,
            root,
            endpoint.url(root, reference.repository, request.path),
            endpoint.local(reference),
            request,
        )

    def answers(self, url: str, endpoint: Endpoint) -> bool:
        """Return whether a server answers at a URL given by `endpoint`; see Transport."""
        return self._transports.get(endpoint.config.tls).answers(
            url, origin=self._roots.get(endpoint)
        )

    def _find_root(self, endpoint: Endpoint) -> str:
        *others, last = endpoint.roots
        # If no root answers, the request to the first one reports why.
        transport = self._transports.get(endpoint.config.tls)
        found = (root for root in endpoint.roots if transport.answers(f"{root}/"))
        return next(found, endpoint.roots[0]) if others else last
