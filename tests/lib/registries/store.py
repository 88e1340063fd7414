"""What a registry of the tests holds, and the answers to who pulls it.

OCI distribution specification 1.1, sections Pull, Listing Tags and Listing Referrers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.lib.caches.caches import INDEX_TYPE, descriptor, dump, image_index, sha256
from tests.lib.servers.messages import Answer, Request

_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Manifest:
    kind: str
    data: bytes


@dataclass
class Repository:
    """A repository: blobs and manifests by digest, digests by tag."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def add_blob(self, data: bytes) -> str:
        digest = f"sha256:{sha256(data)}"
        self.blobs[digest] = data
        return digest

    def add_manifest(self, data: bytes, kind: str, *, tag: str = "") -> str:
        """Add a manifest; what it names need not be there."""
        digest = f"sha256:{sha256(data)}"
        self.manifests[digest] = Manifest(kind, data)
        if tag:
            self.tags[tag] = digest
        return digest

    def missing(self, data: bytes) -> list[str]:
        """Return the digests that a manifest names and that are not here."""
        document = json.loads(data)
        blobs = [document["config"], *document["layers"]] if "config" in document else []
        wanted = [each["digest"] for each in blobs if not each.get("urls")]
        gone = [digest for digest in wanted if digest not in self.blobs]
        children = [each["digest"] for each in document.get("manifests", ())]
        return gone + [digest for digest in children if digest not in self.manifests]

    def pull(self, request: Request, kind: str, name: str) -> Answer:
        """Answer GET or HEAD for `blobs`, `manifests`, `tags` or `referrers`."""
        match kind:
            case "blobs":
                data = self.blobs.get(name)
                return refusal(404, "BLOB_UNKNOWN") if data is None else _blob(request, name, data)
            case "manifests":
                found = self.manifests.get(self.tags.get(name, name))
                return refusal(404, "MANIFEST_UNKNOWN") if found is None else _manifest(found)
            case "tags":
                return self._tags(request)
            case "referrers":
                return self._referrers(request, name)
        return refusal(404, "UNSUPPORTED")

    def _tags(self, request: Request) -> Answer:
        (last,) = request.query.get("last", [""])
        names = [tag for tag in sorted(self.tags) if tag > last]
        if "n" in request.query:
            names = names[: int(request.query["n"][0])]
        body = dump({"name": request.path.split("/", 2)[2].rpartition("/tags/")[0], "tags": names})
        return Answer(200, body, {"Content-Type": "application/json"})

    def _referrers(self, request: Request, subject: str) -> Answer:
        (wanted,) = request.query.get("artifactType", [""])
        entries = []
        for each in self.manifests.values():
            document = json.loads(each.data)
            fields = _referrer_fields(document)
            if document.get("subject", {}).get("digest") == subject and wanted in (
                "",
                fields["artifactType"],
            ):
                entries.append(descriptor(each.kind, each.data, **fields))
        headers = {"Content-Type": INDEX_TYPE}
        if wanted:
            headers["OCI-Filters-Applied"] = "artifactType"
        return Answer(200, image_index(entries), headers)


def refusal(status: int, code: str) -> Answer:
    """Return an error as the specification wants it."""
    body = dump({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]})
    return Answer(status, body, {"Content-Type": "application/json"})


def _referrer_fields(document: Mapping[str, Any]) -> dict[str, object]:
    kind = document.get("artifactType") or document.get("config", {}).get("mediaType")
    notes = document.get("annotations")
    return {"artifactType": kind} | ({"annotations": notes} if notes else {})


def _manifest(found: Manifest) -> Answer:
    digest = f"sha256:{sha256(found.data)}"
    return Answer(200, found.data, {"Content-Type": found.kind, "Docker-Content-Digest": digest})


def _blob(request: Request, digest: str, data: bytes) -> Answer:
    """Answer with a blob, or with the range of it that is asked for (RFC 9110, section 14)."""
    headers = {"Content-Type": _OCTETS, "Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
    if request.wanted is None or request.method != "GET":
        return Answer(200, data, headers)
    start, end = request.wanted
    if start >= len(data):
        return Answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
    part = data[start:end]
    headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
    return Answer(206, part, headers)
