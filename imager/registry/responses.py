"""What the registry has to say of a target: a document, a refusal, or the places of a blob.

OCI distribution specification 1.1, pull and content discovery
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from imager.oci.digest import Digest
from imager.oci.documents import dump_json
from imager.oci.manifest import OCI_INDEX
from imager.registry.catalog import Catalog, tags_of
from imager.registry.referrers import referrers_json
from imager.registry.routes import (
    Base,
    BlobTarget,
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

JSON = "application/json"
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Document:
    """A body in memory; `digest` is that of a manifest, `headers` are added."""

    data: bytes
    content_type: str = JSON
    digest: Digest | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(catalog: Catalog, target: Target) -> Document | BlobTarget | Refusal:
    """Return what `catalog` answers for `target`; blobs have yet to be opened and checked."""
    match target:
        case Health():
            return Document(dump_json({"status": "ok", "repositories": len(catalog.repositories)}))
        case Base():
            return Document(b"{}")
        case ManifestTarget(name, wanted):
            return _manifest(catalog, name, wanted)
        case BlobTarget(digest):
            return target if digest in catalog.blobs else _unknown_blob(digest)
        case TagList(name, page):
            return _tag_list(catalog, name, page)
        case RepositoryList(namespace, page):
            names, link = _page_of(catalog.names(namespace), page, "/v2/_catalog", namespace)
            return Document(dump_json({"repositories": names}), headers=link)
        case Referrers(name, digest, artifact_type):
            found = catalog.repository(name.name, name.namespace) or {}
            filtered = {"OCI-Filters-Applied": "artifactType"} if artifact_type else {}
            index = referrers_json(found, digest, artifact_type)
            return Document(index, OCI_INDEX, headers=filtered)
        case Refusal():
            return target


def error_document(refusal: Refusal) -> bytes:
    """Return the error document of a refusal (specification, 'Error Codes')."""
    return dump_json({"errors": [{"code": refusal.code, "message": refusal.message}]})


def _manifest(catalog: Catalog, name: Name, wanted: str | Digest) -> Document | Refusal:
    repository = catalog.repository(name.name, name.namespace)
    if repository is None:
        return _unknown_name(name)
    found = repository.get(wanted)
    if found is None:
        mark = "@" if isinstance(wanted, Digest) else ":"
        return Refusal(404, "MANIFEST_UNKNOWN", f"the cache has no {_full(name)}{mark}{wanted}")
    return Document(found.raw, found.media_type, found.digest)


def _tag_list(catalog: Catalog, name: Name, page: Page) -> Document | Refusal:
    repository = catalog.repository(name.name, name.namespace)
    if repository is None:
        return _unknown_name(name)
    path = f"/v2/{name.name}/tags/list"
    tags, link = _page_of(tags_of(repository), page, path, name.namespace)
    return Document(dump_json({"name": name.name, "tags": tags}), headers=link)


def _page_of(
    entries: Sequence[str], page: Page, path: str, namespace: str | None
) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return the entries of a page, and the header that names the next one."""
    count = _MOST_ENTRIES if page.count is None else min(page.count, _MOST_ENTRIES)
    start = bisect_right(entries, page.last) if page.last else 0
    shown = entries[start : start + count]
    if not shown or start + count >= len(entries):
        return shown, {}
    query = {"n": str(count), "last": shown[-1]} | ({"ns": namespace} if namespace else {})
    return shown, {"Link": f'<{path}?{urlencode(query)}>; rel="next"'}


def _full(name: Name) -> str:
    return f"{name.namespace}/{name.name}" if name.namespace else name.name


def _unknown_name(name: Name) -> Refusal:
    return Refusal(404, "NAME_UNKNOWN", f"the cache has no image of {_full(name)}")


def _unknown_blob(digest: Digest) -> Refusal:
    return Refusal(404, "BLOB_UNKNOWN", f"the cache has no blob {digest}")
