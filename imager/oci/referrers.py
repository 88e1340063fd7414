"""Lists of manifests that refer to another: OCI distribution specification 1.1, Listing Referrers.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from imager.oci.documents import MAX_DOCUMENT
from imager.oci.errors import InvalidImageError
from imager.oci.manifest import OCI_INDEX, Descriptor, Index, parse_manifest
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
