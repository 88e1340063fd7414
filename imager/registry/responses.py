"""Replies to requests: documents, blobs and refusals.

OCI distribution specification 1.1, pull and content discovery
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlencode

from imager.oci.digest import Digest
from imager.oci.documents import dump_json
from imager.oci.manifest import OCI_INDEX
from imager.registry.blobs import Blobs, OpenBlob
from imager.registry.catalog import Catalog, tags_of
from imager.registry.referrers import referrers_json
from imager.registry.routes import (
    Base,
    BlobTarget,
    DocumentTarget,
    Health,
    ManifestTarget,
    Name,
    Page,
    Referrers,
    Refusal,
    RepositoryList,
    TagList,
    Target,
)
from imager.support.errors import InputError

METHODS = ("GET", "HEAD")
JSON = "application/json"
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Reply:
    """The full reply to a request, before conditions and ranges apply.

    `body` is in memory, or an open blob; `digest` is that of a manifest or blob. `problem` says why
    the request was refused.
    """

    body: bytes | OpenBlob
    content_type: str = JSON
    digest: Digest | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    problem: str = ""

    @property
    def size(self) -> int:
        """The size of the whole body in bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.content.size


def refuse(status: int, code: str, message: str) -> Reply:
    """Return an error reply with its document (specification, 'Error Codes')."""
    body = dump_json({"errors": [{"code": code, "message": message}]})
    allow = {"Allow": ", ".join(METHODS)} if status == 405 else {}
    return Reply(body, headers=allow, status=status, problem=message)


async def reply_to(target: Target, catalog: Catalog, blobs: Blobs, stack: ExitStack) -> Reply:
    """Return the reply to `target` from `catalog`; a blob is checked and open until `stack` closes.

    A damaged blob gets the same reply as a missing one, so that clients try the next mirror.
    """
    if not isinstance(target, BlobTarget):
        return _document(catalog, target)
    if target.digest not in catalog.blobs:
        return refuse(404, "BLOB_UNKNOWN", f"the cache has no blob {target.digest}")
    blob = await blobs.open(stack, target.digest, catalog.blobs[target.digest])
    if isinstance(blob, InputError):
        return refuse(404, "BLOB_UNKNOWN", blob.message)
    return Reply(blob, "application/octet-stream", target.digest)


def _document(catalog: Catalog, target: DocumentTarget) -> Reply:
    match target:
        case Health():
            return Reply(dump_json({"status": "ok", "repositories": len(catalog.repositories)}))
        case Base():
            return Reply(b"{}")
        case ManifestTarget(name, wanted):
            return _manifest(catalog, name, wanted)
        case TagList(name, page):
            return _tag_list(catalog, name, page)
        case RepositoryList(namespace, page):
            names, link = _page_of(catalog.names(namespace), page, "/v2/_catalog", namespace)
            return Reply(dump_json({"repositories": names}), headers=link)
        case Referrers(name, digest, artifact_type):
            found = catalog.repository(name.name, name.namespace) or {}
            filtered = {"OCI-Filters-Applied": "artifactType"} if artifact_type else {}
            index = referrers_json(found, digest, artifact_type)
            return Reply(index, OCI_INDEX, headers=filtered)
        case Refusal(status, code, message):
            return refuse(status, code, message)


def _manifest(catalog: Catalog, name: Name, wanted: str | Digest) -> Reply:
    repository = catalog.repository(name.name, name.namespace)
    if repository is None:
        return _unknown_name(name)
    found = repository.get(wanted)
    if found is None:
        mark = "@" if isinstance(wanted, Digest) else ":"
        return refuse(404, "MANIFEST_UNKNOWN", f"the cache has no {_full(name)}{mark}{wanted}")
    return Reply(found.raw, found.media_type, found.digest)


def _tag_list(catalog: Catalog, name: Name, page: Page) -> Reply:
    repository = catalog.repository(name.name, name.namespace)
    if repository is None:
        return _unknown_name(name)
    path = f"/v2/{name.name}/tags/list"
    tags, link = _page_of(tags_of(repository), page, path, name.namespace)
    return Reply(dump_json({"name": name.name, "tags": tags}), headers=link)


def _page_of(
    entries: Sequence[str], page: Page, path: str, namespace: str | None
) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return the entries of a page, and the Link header of the next page."""
    count = _MOST_ENTRIES if page.count is None else min(page.count, _MOST_ENTRIES)
    start = bisect_right(entries, page.last) if page.last else 0
    shown = entries[start : start + count]
    if not shown or start + count >= len(entries):
        return shown, {}
    query = {"n": str(count), "last": shown[-1]} | ({"ns": namespace} if namespace else {})
    return shown, {"Link": f'<{path}?{urlencode(query)}>; rel="next"'}


def _full(name: Name) -> str:
    return f"{name.namespace}/{name.name}" if name.namespace else name.name


def _unknown_name(name: Name) -> Reply:
    return refuse(404, "NAME_UNKNOWN", f"the cache has no repository {_full(name)}")
