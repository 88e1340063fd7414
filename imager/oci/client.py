"""The interface of the registry client that remote images use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from imager.oci.endpoint import Capability, Endpoint
from imager.oci.reference import Reference
from imager.oci.retry import Patience
from imager.oci.transport import Body, Response

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a repository; `path` is `manifests/...`, `blobs/...`, or a registry's URL."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    accepted: Collection[int] = (200,)


class Client(Protocol):
    """Sends requests to registries and mirrors; `RegistryClient` documents the errors."""

    @property
    def patience(self) -> Patience:
        """The limits of retries and timeouts."""

    def endpoints(self, registry: str) -> tuple[Endpoint, ...]:
        """Return the hosts to try for `registry`, in order; the registry itself is last."""

    def first(self, reference: Reference, need: Capability, ask: Callable[[Endpoint], _T]) -> _T:
        """Return the result of `ask` for the first host of the registry for which it succeeds."""

    def request(
        self, reference: Reference, asked: Request, *, endpoint: Endpoint | None = None
    ) -> AbstractContextManager[Response]:
        """Send a request for the repository to `endpoint`, or to the registry itself."""

    def answers(self, path: str, endpoint: Endpoint) -> bool:
        """Return whether a server answers at a URL given by a registry; True for other paths."""
