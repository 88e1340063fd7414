"""A registry in this process, with the contents and the faults that a test gives it.

It answers by the OCI distribution specification 1.1; no code of the program is used here. What goes
wrong is said as `Programmable` has it.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.lib.registries.store import Repository, refusal
from tests.lib.registries.uploads import Uploads, put_manifest
from tests.lib.servers.messages import Answer, Exchange, Request
from tests.lib.servers.programmable import Programmable

_PULLED = re.compile(r"/v2/(.+)/(blobs|manifests|tags|referrers)/([^/]+)")
_UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/([^/]*)")


@dataclass
class Registry(Programmable):
    """A registry; what is not in it is answered 404, and so is all outside of /v2/."""

    repositories: defaultdict[str, Repository] = field(
        default_factory=lambda: defaultdict(Repository), repr=False
    )
    uploads: Uploads = field(default_factory=Uploads)

    def repository(self, name: str) -> Repository:
        """Return a repository, which is empty if it is not there yet."""
        return self.repositories[name]

    @property
    def blobs(self) -> dict[str, bytes]:
        """Return the blobs of all repositories."""
        return {
            digest: data
            for each in self.repositories.values()
            for digest, data in each.blobs.items()
        }

    def right(self, exchange: Exchange) -> Answer:
        exchange.take()
        with self.lock:
            return self._right(exchange)

    def _right(self, exchange: Exchange) -> Answer:
        request = exchange.request
        if request.path == "/v2/":
            return Answer(headers={"Docker-Distribution-API-Version": "registry/2.0"})
        if upload := _UPLOAD.fullmatch(request.path):
            repository = self.repository(upload[1])
            if request.method != "POST":
                return self.uploads.take(exchange, repository)
            return self.uploads.begin(request, repository, self._origin(request))
        found = _PULLED.fullmatch(request.path)
        if found is None:
            return refusal(404, "NOT_FOUND")
        repository = self.repository(found[1])
        if request.method in ("GET", "HEAD"):
            return repository.pull(request, found[2], found[3])
        if request.method != "PUT" or found[2] != "manifests":
            return refusal(405, "UNSUPPORTED")
        return (
            refusal(400, "SIZE_INVALID")
            if exchange.broken
            else put_manifest(request, repository, found[3])
        )

    def _origin(self, request: Request) -> Repository:
        (name,) = request.query.get("from", [""])
        return self.repositories.get(name, Repository())


@contextlib.contextmanager
def running_programmable(certificate: tuple[Path, Path] | None = None) -> Iterator[Registry]:
    """Run an empty registry until the context is left; with `certificate` and its key, over TLS."""
    registry = Registry()
    with registry.running(certificate):
        yield registry
