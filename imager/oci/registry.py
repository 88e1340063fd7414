"""Images in registries: OCI distribution specification 1.1, section Pull.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

from imager.errors import DependencyError, ImagerError, InputError
from imager.extents import Content
from imager.oci.authorization import PULL, PUSH, Authorizer
from imager.oci.credentials import CredentialChain, Credentials
from imager.oci.digest import Digest
from imager.oci.documents import MAX_DOCUMENT
from imager.oci.download import Ask, download
from imager.oci.endpoint import Capability, Endpoint, Hosts
from imager.oci.failover import Failover
from imager.oci.failures import pull_failure, push_failure
from imager.oci.httptransport import HttpTransport
from imager.oci.manifest import ACCEPTED_TYPES, Descriptor, RawManifest
from imager.oci.reference import Reference
from imager.oci.retry import READING, Patience, asked_pause, insist
from imager.oci.settings import RegistrySettings
from imager.oci.source import BlobCheck, ByteSink, NotFoundError, WrongBytesError
from imager.oci.tls import DEFAULT_TLS, TlsSettings
from imager.oci.transport import Body, Response, Transport, read_bounded, same_origin
from imager.units import format_size

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask of a repository: `path` is `manifests/...`, `blobs/...`, or a URL it gave."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    accepted: Collection[int] = (200,)


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
        self._credentials = credentials
        self._hosts = hosts or Hosts()
        self._failover = Failover()
        self._roots: dict[Endpoint, str] = {}
        # By repository and by what may be done there.
        self._authorizations: dict[tuple[str, str], str] = {}
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

    def first(self, reference: Reference, need: Capability, ask: Callable[[Endpoint], _T]) -> _T:
        """Return what `ask` returns for the first host of the registry for which it succeeds.

        Only hosts with the capability `need` are asked. Raises as `Failover.first`, InputError
        when there is none.
        """
        registry = reference.registry
        endpoints = self._hosts.endpoints(registry)
        able = [endpoint for endpoint in endpoints if need in endpoint.capabilities]
        if not able:
            raise InputError(
                f"no host of {registry} has the capability {need.value!r}, asked for {reference}",
                hint="check the capabilities in its hosts.toml",
            )
        return self._failover.first(able, ask)

    @contextlib.contextmanager
    def request(
        self, reference: Reference, asked: Request, *, endpoint: Endpoint | None = None
    ) -> Iterator[Response]:
        """Ask `endpoint`, or the registry itself, for something of the repository.

        A challenge is answered once, whether there was no token or an expired one; not that of
        another host, to which a URL may lead: it gets no Authorization. Raises NotFoundError for
        404, InputError when access is refused, DependencyError for every other status that is
        not `asked.accepted`; for what is not only read, as `push_failure`.
        """
        endpoint = endpoint or self._hosts.endpoints(reference.registry)[-1]
        transport, root = self._transport(endpoint.tls), self._root(endpoint)
        url, local = endpoint.url(root, reference.repository, asked.path), endpoint.local(reference)
        own = same_origin(root, url)
        actions = PULL if asked.method in READING else PUSH
        # Another scheme or another path of a host is another place for a token.
        place = (f"{root}/{reference.repository}", actions)
        known = self._authorizations.get(place) if own else None
        sent = dict(endpoint.headers if own else ()) | dict(asked.headers)
        answered = not own
        while True:
            headers = sent | _authorization(known)
            with transport.request(asked.method, url, headers=headers, body=asked.body) as response:
                if answered or response.status != 401:
                    if response.status not in asked.accepted:
                        raise self._failure(response, local, asked)
                    yield response
                    return
                challenge = response.headers.get("WWW-Authenticate", "")
            with self._lock(place):
                refused, known = known, self._authorizations.get(place)
                # Else another thread has answered the challenge since.
                if known == refused:
                    authorizer = Authorizer(transport, self._credentials)
                    known = authorizer.answer(challenge, reference=local, url=url, actions=actions)
                    self._authorizations[place] = known
                    answered = True

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


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """One image of a registry; an ImageSource."""

    client: RegistryClient
    reference: Reference

    @property
    def warnings(self) -> tuple[str, ...]:
        """None: the image is kept byte by byte."""
        return ()

    def root(self) -> RawManifest:
        """Return the manifest or index behind the reference: by its digest if it has one."""
        return self.manifest(self.reference.target)

    def manifest(self, target: str | Digest) -> RawManifest:
        """Return a manifest or index of the repository; see ImageSource."""
        return self._find(target)[0]

    def locate(self) -> tuple[RawManifest, Endpoint]:
        """Return the root, and the host that gave it; raises as `root`."""
        return self._find(self.reference.target)

    def find_at(self, host: Endpoint) -> RawManifest | None:
        """Return the root as `host` has it, None when it has none, whatever others have.

        A host that may not say what a tag is, is not asked; all others are. Raises as `root`.
        """
        try:
            if Capability.RESOLVE not in host.capabilities:
                return self.root()
            return self._ask_manifest(self.reference.target, host)
        except NotFoundError:
            return None

    def _find(self, target: str | Digest) -> tuple[RawManifest, Endpoint]:
        # Who names a tag's digest must be trusted; whoever has bytes of a digest need not be.
        need = Capability.PULL if isinstance(target, Digest) else Capability.RESOLVE
        return self.client.first(
            self.reference, need, lambda endpoint: (self._ask_manifest(target, endpoint), endpoint)
        )

    def _ask_manifest(self, target: str | Digest, endpoint: Endpoint) -> RawManifest:
        return insist(lambda: self._read_manifest(target, endpoint), self.client.patience)

    def _read_manifest(self, target: str | Digest, endpoint: Endpoint) -> RawManifest:
        where = f"{self.reference.name}: manifest {target}"
        accept = {"Accept": ", ".join(ACCEPTED_TYPES)}
        asked = Request("GET", f"manifests/{target}", headers=accept)
        with self.client.request(self.reference, asked, endpoint=endpoint) as response:
            media_type = response.headers.get("Content-Type", "")
            if media_type.startswith("text/html"):
                raise DependencyError(
                    f"{where}: {endpoint.host} answers with a web page",
                    hint="it is no registry, or a proxy or login page stands before it",
                )
            stated = response.headers.get("Docker-Content-Digest", "")
            raw = read_bounded(response, MAX_DOCUMENT)
        if len(raw) > MAX_DOCUMENT:
            raise DependencyError(f"{where} is larger than {format_size(MAX_DOCUMENT)}")
        digest = Digest.of(raw)
        _check_digest(digest, str(target) if isinstance(target, Digest) else stated, where)
        return RawManifest.parse(raw, media_type=media_type, where=where)

    def blob_content(self, blob: Descriptor) -> Content | None:  # noqa: ARG002
        """Return None: the blob is not on this machine."""
        return None

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        """Write the blob to `sink`, checked; see ImageSource.

        A connection that breaks is taken up where it broke; see `download`.
        """
        where = f"{self.reference.name}: blob {blob.digest}"
        check = BlobCheck(blob, sink, where=where, error=WrongBytesError)
        for data in have:
            check.skip(data)

        def ask(endpoint: Endpoint) -> None:
            # What one host has given is not asked of the next.
            download(check, self._part(blob, endpoint), patience=self.client.patience)

        self.client.first(self.reference, Capability.PULL, ask)

    def _part(self, blob: Descriptor, endpoint: Endpoint) -> Ask:
        def ask(start: int) -> AbstractContextManager[Response]:
            asked = Request(
                "GET",
                f"blobs/{blob.digest}",
                headers={"Range": f"bytes={start}-"} if start else {},
                accepted=(200, 206, 416) if start else (200,),
            )
            return self.client.request(self.reference, asked, endpoint=endpoint)

        return ask


def _authorization(value: str | None) -> dict[str, str]:
    return {"Authorization": value} if value else {}


def _check_digest(digest: Digest, expected: str, where: str) -> None:
    # A registry may state a digest of another algorithm, which says nothing of ours.
    if expected.startswith("sha256:") and expected != str(digest):
        raise DependencyError(
            f"{where} is not what its digest says: expected {expected}, got {digest}",
            hint="the registry or a proxy before it is damaged or changes images",
        )
