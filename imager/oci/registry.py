"""A client of registries and their mirrors: OCI distribution specification 1.1.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from imager.oci.authorization import PULL, PUSH, Asked
from imager.oci.client import Request
from imager.oci.credentials import CredentialChain, Credentials
from imager.oci.endpoint import Capability, Endpoint, Hosts
from imager.oci.failover import Failover
from imager.oci.failures import pull_failure, push_failure
from imager.oci.httptransport import HttpTransport
from imager.oci.logins import Logins, Place
from imager.oci.reference import Reference
from imager.oci.remote import RemoteImage
from imager.oci.retry import READING, Patience, asked_pause
from imager.oci.settings import RegistrySettings
from imager.oci.tls import DEFAULT_TLS, TlsSettings
from imager.oci.transport import Response, Transport, same_origin
from imager.support.errors import ImagerError, InputError

_T = TypeVar("_T")


class RegistryClient:
    """Pulls from any number of registries and their mirrors.

    `hosts` says who is asked for the images of a registry; `connect` makes the transport for hosts
    with other TLS settings than the default, without it `transport` is for all. `patience` is for
    answers that come in pieces. Several threads may use one client: they share its tokens, and one
    of them at a time asks for the token of a repository.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        credentials: Credentials,
        hosts: Hosts | None = None,
        patience: Patience | None = None,
        connect: Callable[[TlsSettings], Transport] | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self._connect = connect or (lambda _: transport)
        self._transports = {DEFAULT_TLS: transport}
        self._logins = Logins(credentials)
        self._hosts = hosts or Hosts()
        self._failover = Failover()
        self._roots: dict[Endpoint, str] = {}
        self._locks: dict[object, threading.Lock] = {}

    @classmethod
    def from_settings(cls, settings: RegistrySettings) -> RegistryClient:
        """Return a client on HTTP, with the given credentials and the user's stored ones.

        Raises InputError when the file of stored credentials is not valid.
        """

        def connect(tls: TlsSettings) -> HttpTransport:
            return HttpTransport(tls=tls, patience=settings.patience)

        return cls(
            transport=connect(DEFAULT_TLS),
            credentials=settings.credentials.followed_by(CredentialChain.stored()),
            hosts=settings.hosts,
            patience=settings.patience,
            connect=connect,
        )

    def image(self, reference: Reference) -> RemoteImage:
        """Return the image source of `reference`; asks nothing yet."""
        return RemoteImage(self, reference)

    def endpoints(self, registry: str) -> tuple[Endpoint, ...]:
        """Return who is asked for the images of `registry`, in order; the last is the main one."""
        return self._hosts.endpoints(registry)

    def first(self, reference: Reference, need: Capability, ask: Callable[[Endpoint], _T]) -> _T:
        """Return what `ask` returns for the first host of the registry for which it succeeds.

        Only hosts with the capability `need` are asked. Raises as `Failover.first`, InputError
        when there is none.
        """
        registry = reference.registry
        able = [endpoint for endpoint in self.endpoints(registry) if need in endpoint.capabilities]
        if not able:
            raise InputError(
                f"no host of {registry} has the capability {need.value!r}, needed for {reference}",
                hint="check the capabilities in its hosts.toml",
            )
        return self._failover.first(able, ask)

    @contextlib.contextmanager
    def request(
        self, reference: Reference, asked: Request, *, endpoint: Endpoint | None = None
    ) -> Iterator[Response]:
        """Ask `endpoint`, or the registry itself, for something of the repository.

        A challenge is answered once, whether there was no token or an expired one; not that of
        another host, to which a URL may lead: it gets no Authorization. Where a host denies an
        anonymous request without a challenge (403, 404), its own one, that of /v2/, is answered.
        Raises NotFoundError for 404, InputError when access is refused, DependencyError for every
        other status that is not `asked.accepted`; for what is not only read, as `push_failure`.
        """
        endpoint = endpoint or self.endpoints(reference.registry)[-1]
        transport, root = self._transport(endpoint.tls), self._root(endpoint)
        url, local = endpoint.url(root, reference.repository, asked.path), endpoint.local(reference)
        own = same_origin(root, url)
        actions = PULL if asked.method in READING else PUSH
        place = Place(transport, root, Asked(local, url, actions))
        known = self._logins.known(place) if own else None
        sent = dict(endpoint.headers if own else ()) | dict(asked.headers)
        answered = not own
        while True:
            with transport.request(
                asked.method,
                url,
                headers=sent | _authorization(known),
                body=asked.body,
                origin=root if "://" in asked.path else "",
            ) as response:
                new = None if answered else self._logins.answer(response, place, known)
                if new is None:
                    if response.status not in asked.accepted:
                        raise self._failure(response, local, asked)
                    yield response
                    return
            known, answered = new.authorization, new.is_new

    def answers(self, path: str, endpoint: Endpoint) -> bool:
        """Whether there is a server at a URL that a registry names; for other paths always.

        It is asked once and not waited for. Raises DependencyError as Transport.answers.
        """
        if "://" not in path:
            return True
        return self._transport(endpoint.tls).answers(path, origin=self._root(endpoint))

    def _failure(self, response: Response, reference: Reference, asked: Request) -> ImagerError:
        if asked.method in READING:
            return pull_failure(response, reference, asked.path)
        pause = asked_pause(response.headers, self.patience)
        return push_failure(response, reference, pause=pause)

    def _lock(self, key: object) -> threading.Lock:
        return self._locks.setdefault(key, threading.Lock())

    def _transport(self, tls: TlsSettings) -> Transport:
        with self._lock(tls):
            if tls not in self._transports:
                self._transports[tls] = self._connect(tls)
            return self._transports[tls]

    def _root(self, endpoint: Endpoint) -> str:
        if len(endpoint.roots) == 1:
            return endpoint.roots[0]
        with self._lock(endpoint):
            if endpoint not in self._roots:
                self._roots[endpoint] = self._find_root(endpoint)
            return self._roots[endpoint]

    def _find_root(self, endpoint: Endpoint) -> str:
        transport, roots = self._transport(endpoint.tls), endpoint.roots
        # When neither answers, the request itself says why.
        return next((root for root in roots if transport.answers(f"{root}/")), roots[0])


def _authorization(value: str | None) -> dict[str, str]:
    return {"Authorization": value} if value else {}
