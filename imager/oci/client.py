"""What images in registries need of a client of those."""

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
    """What to ask of a repository: `path` is `manifests/...`, `blobs/...`, or a URL it gave."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    accepted: Collection[int] = (200,)


class Client(Protocol):
    """Asks registries and their mirrors; `RegistryClient` says what each method raises."""

    @property
    def patience(self) -> Patience:
        """How long and how often to try again."""

    def endpoints(self, registry: str) -> tuple[Endpoint, ...]:
        """Return who is asked for the images of `registry`, in order; the last is the main one."""

    def first(self, reference: Reference, need: Capability, ask: Callable[[Endpoint], _T]) -> _T:
        """Return what `ask` returns for the first host of the registry for which it succeeds."""

    def request(
        self, reference: Reference, asked: Request, *, endpoint: Endpoint | None = None
    ) -> AbstractContextManager[Response]:
        """Ask `endpoint`, or the registry itself, for something of the repository."""

    def answers(self, path: str, endpoint: Endpoint) -> bool:
        """Whether there is a server at a URL that a registry names; for other paths always."""
