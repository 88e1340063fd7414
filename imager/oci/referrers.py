"""Lists of what refers to a manifest: OCI distribution specification 1.1, Listing Referrers.

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

# What registries without such lists answer.
NO_REFERRERS = (400, 404, 405, 406, 501)
_MOST_PAGES = 100
# RFC 8288, section 3.
_NEXT = re.compile(r'<([^<>]*)>[^,<>]*;\s*rel="?next"?', re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the URL of the next one, if any."""

    entries: tuple[Descriptor, ...] = ()
    following: str = ""


def read_page(response: Response, where: str) -> Page:
    """Return the page in a response; what is no list is an empty one.

    Raises InputError for a list that is not valid.
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
    """Return the entries of the list at `path` and of the pages that follow it, each once.

    Raises InputError for a list without an end, and as `read`.
    """
    found: dict[str, Descriptor] = {}
    for _ in range(_MOST_PAGES):
        page = read(path)
        found |= {str(entry.digest): entry for entry in page.entries}
        if not page.following:
            return tuple(found.values())
        path = page.following
    raise InvalidImageError(f"the list of referrers at {path} has more than {_MOST_PAGES} pages")
