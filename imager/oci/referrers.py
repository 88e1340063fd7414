"""Lists of manifests that refer to another: OCI distribution specification 1.1, Listing Referrers.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from imager.oci.digest import Digest
from imager.oci.documents import MAX_DOCUMENT, Fields, load_fields
from imager.oci.errors import InvalidImageError
from imager.oci.manifest import (
    OCI_INDEX,
    Descriptor,
    Index,
    RawManifest,
    parse_annotations,
    parse_manifest,
)
from imager.oci.transport import Response, follow, read_bounded

# Statuses of registries without the referrers API.
NO_REFERRERS = (400, 404, 405, 406, 501)
_MOST_PAGES = 100
# RFC 8288, section 3.
_NEXT = re.compile(r'<([^<>]*)>[^,<>]*;\s*rel="?next"?', re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, and the URL of the next page, if any."""

    entries: tuple[Descriptor, ...] = ()
    following: str = ""


def read_page(response: Response, where: str) -> Page:
    """Parse the page in a response; empty when the response is not a list.

    Raises InputError for an invalid list.
    """
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if response.status != 200 or kind != OCI_INDEX:
        return Page()
    document = parse_manifest(read_bounded(response, MAX_DOCUMENT), media_type=kind, where=where)
    following = _NEXT.search(response.headers.get("Link", ""))
    return Page(
        document.manifests if isinstance(document, Index) else (),
        follow(response.url, following[1]) if following else "",
    )


def all_entries(path: str, read: Callable[[str], Page]) -> tuple[Descriptor, ...]:
    """Return the entries of the list at `path` and of the pages that follow it, without duplicates.

    Raises InputError for a list that does not end, and as `read`.
    """
    found: dict[str, Descriptor] = {}
    for _ in range(_MOST_PAGES):
        page = read(path)
        found |= {str(entry.digest): entry for entry in page.entries}
        if not page.following:
            return tuple(found.values())
        path = page.following
    raise InvalidImageError(f"the list of referrers at {path} has more than {_MOST_PAGES} pages")


def subject_of(manifest: RawManifest) -> Digest | None:
    """Return the digest of the manifest that `manifest` refers to; raises InputError."""
    # Most manifests have no subject, and need not be parsed again.
    if b'"subject"' not in manifest.raw:
        return None
    subject = load_fields(manifest.raw, where="manifest").child("subject")
    return Digest.parse(subject.text("digest")) if subject else None


def referrer_entry(manifest: RawManifest) -> Descriptor:
    """Return the entry of a manifest in a list of referrers; raises InputError."""
    fields = load_fields(manifest.raw, where="manifest")
    return replace(
        manifest.descriptor(),
        annotations=parse_annotations(fields.child("annotations")),
        artifact_type=fields.text("artifactType") or _config_type(fields.child("config")),
    )


def _config_type(config: Fields | None) -> str:
    return config.text("mediaType") if config else ""
