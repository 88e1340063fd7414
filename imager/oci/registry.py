"""The client of registries and their mirrors: OCI distribution specification 1.1.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from imager.oci.client import Request
from imager.oci.credentials import CredentialChain, Credentials
from imager.oci.endpoint import Capability, Endpoint, Hosts
from imager.oci.errors import InvalidRegistrySettingsError
from imager.oci.failover import first_success
from imager.oci.failures import failure_of
from imager.oci.httptransport import HttpTransport
from imager.oci.logins import Logins
from imager.oci.pins import Pins
from imager.oci.reference import Reference
from imager.oci.remote import RemoteImage
from imager.oci.retry import Patience
from imager.oci.routing import Connect, Router
from imager.oci.settings import RegistrySettings
from imager.oci.transport import Response

_T = TypeVar("_T")


class RegistryClient:
    """Pulls from any number of registries and their mirrors.

    `hosts` lists the hosts for each registry; `connect` creates the transport for hosts with the
    same TLS settings. `patience` applies to responses read in pieces. An image is pulled by its
    digest in `pins`, if it is there. Several threads may use one client: they share its tokens, and
    only one at a time requests the token of a repository.
    """

    def __init__(
        self,
        *,
        connect: Connect,
        credentials: Credentials,
        hosts: Hosts | None = None,
        patience: Patience | None = None,
        pins: Pins | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self.pins = pins or Pins()
        self._router = Router(hosts or Hosts(), connect)
        self._logins = Logins(credentials)
        self._failing: set[Endpoint] = set()

    @classmethod
    def from_settings(cls, settings: RegistrySettings) -> RegistryClient:
        """Return an HTTP client with the given credentials and the user's stored ones.

        Raises InputError when the file of stored credentials is invalid.
        """
        return cls(
            connect=lambda tls: HttpTransport(tls=tls, patience=settings.patience),
            credentials=settings.credentials.followed_by(CredentialChain.stored()),
            hosts=settings.hosts,
            patience=settings.patience,
            pins=settings.pins,
        )

    def image(self, reference: Reference) -> RemoteImage:
        """Return the image source of `reference`, without sending a request."""
        return RemoteImage(self, self.pins.pinned(reference))

    def endpoints(self, registry: str) -> tuple[Endpoint, ...]:
        """Return the hosts to try for `registry`, in order; the registry itself is last."""
        return self._router.hosts.endpoints(registry)

    def first(self, reference: Reference, need: Capability, ask: Callable[[Endpoint], _T]) -> _T:
        """Return the result of `ask` for the first host of the registry for which it succeeds.

        Only hosts with the capability `need` are tried. Raises as `first_success`, and InputError
        when no host has it.
        """
        registry = reference.registry
        able = [
            endpoint
            for endpoint in self.endpoints(registry)
            if need in endpoint.config.capabilities
        ]
        if not able:
            raise InvalidRegistrySettingsError(
                f"no host of {registry} has the capability {need.value!r}, needed for {reference}",
                hint="check the capabilities in its hosts.toml",
            )
        return first_success(able, ask, self._failing)

    @contextlib.contextmanager
    def request(
        self, reference: Reference, asked: Request, *, endpoint: Endpoint | None = None
    ) -> Iterator[Response]:
        """Send a request for the repository to `endpoint`, or to the registry itself.

        Answers challenges, see `Logins.send`. Raises the error of `failure_of` for every status
        that is not in `asked.accepted`.
        """
        route = self._router.route(reference, asked, endpoint)
        with self._logins.send(route) as response:
            if response.status not in asked.accepted:
                raise failure_of(response, route, self.patience)
            yield response

    def answers(self, path: str, endpoint: Endpoint) -> bool:
        """Return whether a server answers at a URL given by a registry; True for other paths.

        Sends one request with a short timeout. Raises DependencyError as Transport.answers.
        """
        return "://" not in path or self._router.answers(path, endpoint)
