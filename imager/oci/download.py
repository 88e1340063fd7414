"""A blob in as many requests as it takes: a broken connection is taken up where it broke.

RFC 9110, section 14 (range requests); OCI distribution specification 1.1, section Pulling blobs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

from imager.oci.errors import RegistryFailedError
from imager.oci.retry import ConnectionLostError, Patience
from imager.oci.source import BlobCheck
from imager.oci.transport import Response

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)", re.ASCII)

Ask = Callable[[int], AbstractContextManager[Response]]


def download(check: BlobCheck, ask: Ask, *, patience: Patience) -> None:
    """Give `check` the bytes it misses, and finish it.

    `ask(start)` asks for the blob from byte `start` on; it may answer 206, 200 (the whole blob)
    or 416, for `start` 0 only 200. After a connection that broke or stalled, and after a body
    that ended early, it is asked again, until `patience.retries` requests in a row brought
    nothing new. A registry whose ranges cannot be used is asked for the whole blob, of which the
    known bytes are skipped.

    Raises ConnectionLostError when patience ends, DependencyError when the registry announces
    another size, and as `ask`, `check.write` and `check.finish`: none of these is tried again.
    """
    ranges = True
    failures = 0
    while check.missing:
        reached = check.size
        lost = None
        try:
            with ask(reached if ranges else 0) as response:
                ranges = _copy(response, check)
        except ConnectionLostError as error:
            lost = error
        if not check.missing:
            break
        failures = failures + 1 if check.size == reached else 0
        if failures > patience.retries:
            if lost is not None:
                raise lost
            break
        reason = lost.message if lost is not None else f"{check.where} came in part only"
        patience.pause(failures, reason)
    check.finish()


def _copy(response: Response, check: BlobCheck) -> bool:
    """Pass on what is new in the body; return False when the answer is to another range."""
    if response.status == 416 or (response.status == 206 and not _fits(response, check)):
        return False
    known = 0
    if response.status == 200:
        _check_length(response, check)
        known = check.size
    for chunk in response.chunks():
        new = chunk[known:]
        known -= len(chunk) - len(new)
        if new:
            check.write(new)
    return True


def _fits(response: Response, check: BlobCheck) -> bool:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if found is None:
        return False
    start, total = found.groups()
    return int(start) == check.size and total in ("*", str(check.blob.size))


def _check_length(response: Response, check: BlobCheck) -> None:
    length = response.headers.get("Content-Length", str(check.blob.size))
    if length != str(check.blob.size):
        raise RegistryFailedError(
            f"{check.where} is announced with {length[:20]} bytes, "
            f"the manifest says {check.blob.size}",
            hint="the registry is damaged, or a proxy or login page is answering for it",
        )
