"""Selects the response to a request: the whole resource, a range of it, or "not modified".

RFC 9110, sections 13 (conditional requests) and 14 (range requests). Entity tags are digests, so
they are strong. There are no modification dates to compare.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp.helpers import ETag
from aiohttp.web import BaseRequest

_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.ASCII | re.IGNORECASE)
_LONGEST_NUMBER = 19
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Selection:
    """An HTTP status, and `length` bytes from byte `start` on; empty except for 200 and 206."""

    status: int
    start: int = 0
    length: int = 0


def select(request: BaseRequest, *, etag: str, size: int) -> Selection:
    """Select the response for `size` bytes with the entity tag `etag`, without quotes."""
    wanted = request.if_match
    if wanted is not None and not _matches(wanted, etag, weak=False):
        return Selection(412)
    held = request.if_none_match
    if held is not None and _matches(held, etag, weak=True):
        return Selection(304)
    asked = request.headers.get("Range")
    condition = request.headers.get("If-Range")
    if asked is None or request.method != "GET" or condition not in (None, f'"{etag}"'):
        return Selection(200, 0, size)
    return _range(asked, size)


def _matches(tags: tuple[ETag, ...], etag: str, *, weak: bool) -> bool:
    return any(
        tag.value == _ANY or (tag.value == etag and (weak or not tag.is_weak)) for tag in tags
    )


def _range(text: str, size: int) -> Selection:
    """Select the single range in `text`; several ranges get the whole resource."""
    found = _RANGE.fullmatch(text)
    first, last = found.groups() if found else ("", "")
    if not 0 < max(len(first), len(last)) <= _LONGEST_NUMBER:
        return Selection(200, 0, size)
    if first and last and int(last) < int(first):
        return Selection(200, 0, size)
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    else:
        start, end = max(size - int(last), 0), size
    if start >= end:
        return Selection(416)
    return Selection(206, start, end - start)
