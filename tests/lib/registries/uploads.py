"""What is pushed to a registry of the tests: OCI distribution specification 1.1, section Push."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.lib.caches.caches import sha256
from tests.lib.registries.store import Repository, refusal
from tests.lib.servers.messages import Answer, Exchange, Request


@dataclass
class Uploads:
    """The sessions of uploads that are open, by the last part of their path.

    `location_base` is what is before the path of a session's Location (nothing makes it relative),
    `headers` are added to the answer to a POST.
    """

    sessions: dict[str, bytearray] = field(default_factory=dict)
    location_base: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=itertools.count)

    def begin(self, request: Request, repository: Repository, origin: Repository) -> Answer:
        """Begin a session, or mount the blob if the repository `origin` has it."""
        (mounted,) = request.query.get("mount", [""])
        if mounted in origin.blobs:
            repository.add_blob(origin.blobs[mounted])
            place = request.path.replace("/uploads/", f"/{mounted}")
            return Answer(201, headers={"Location": place, "Docker-Content-Digest": mounted})
        if "digest" in request.query:
            return _whole(request, repository)
        name = str(next(self.ids))
        self.sessions[name] = bytearray()
        return Answer(202, headers={**self._state(f"{request.path}{name}", 0), **self.headers})

    def take(self, exchange: Exchange, repository: Repository) -> Answer:
        """Take a part of a blob (PATCH), the end of it (PUT), or the question for how much came."""
        request, body = exchange.request, bytes(exchange.request.body)
        name = request.path.rpartition("/")[2]
        # The session is found by the query of the Location alone.
        if name not in self.sessions or request.query.get("_state") != ["kept"]:
            return refusal(404, "BLOB_UPLOAD_UNKNOWN")
        data = self.sessions[name]
        if body and request.part is not None and request.part[0] != len(data):
            return Answer(416, headers=self._state(request.path, len(data)))
        data.extend(body)
        if request.method != "PUT" or exchange.broken:
            status = 204 if request.method == "GET" else 202
            return Answer(status, headers=self._state(request.path, len(data)))
        del self.sessions[name]
        return _whole(request, repository, bytes(data))

    def _state(self, path: str, size: int) -> dict[str, str]:
        location = f"{self.location_base}{path}?_state=kept"
        return {"Location": location, "Range": f"0-{max(size - 1, 0)}"}


def _whole(request: Request, repository: Repository, data: bytes | None = None) -> Answer:
    """Add a blob that is complete: by default it is the body of the request."""
    blob = bytes(request.body) if data is None else data
    if request.query["digest"] != [f"sha256:{sha256(blob)}"]:
        return refusal(400, "DIGEST_INVALID")
    return _created(request, "blobs", repository.add_blob(blob))


def put_manifest(request: Request, repository: Repository, name: str) -> Answer:
    """Take a manifest, once all that it names is there."""
    data = bytes(request.body)
    digest = f"sha256:{sha256(data)}"
    if ":" in name and name != digest:
        return refusal(400, "DIGEST_INVALID")
    if repository.missing(data):
        return refusal(400, "MANIFEST_BLOB_UNKNOWN")
    repository.add_manifest(data, request.headers["content-type"], tag="" if ":" in name else name)
    subject = json.loads(data).get("subject")
    return _created(
        request, "manifests", digest, **({"OCI-Subject": subject["digest"]} if subject else {})
    )


def _created(request: Request, kind: str, digest: str, **more: str) -> Answer:
    base = request.path.rpartition(f"/{kind}/")[0]
    headers = {"Location": f"{base}/{kind}/{digest}", "Docker-Content-Digest": digest, **more}
    return Answer(201, headers=headers)
