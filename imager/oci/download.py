"""Downloads a blob, resuming after a broken connection.

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
    """Write the missing bytes of a blob to `check`, and finish it.

    `ask(start)` requests the blob from byte `start` on; it may respond with 206, 200 (the whole
    blob) or 416, and for `start` 0 only with 200. The request is repeated after a connection that
    broke or stalled and after a body that ended early, until `patience.retries` requests in a row
    have brought no new bytes. If the registry's ranges cannot be used, the whole blob is requested
    and the known bytes are skipped.

    Raises ConnectionLostError after the last retry, DependencyError when the registry announces
    another size, and as `ask`, `check.write` and `check.finish`, without a retry.
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
        reason = lost.message if lost is not None else f"{check.where}: the response ended early"
        patience.pause(failures, reason)
    check.finish()


def _copy(response: Response, check: BlobCheck) -> bool:
    """Write the new bytes of the body; return False when the response is for another range."""
    if response.status == 416 or (response.status == 206 and not _fits(response, check)):
        return False
    known = 0
    if response.status == 200:
        length = response.headers.get("Content-Length", str(check.blob.size))
        if length != str(check.blob.size):
            raise RegistryFailedError(
                f"{check.where} has a Content-Length of {length[:20]}, but the manifest says "
                f"{check.blob.size} bytes",
                hint="the registry is damaged, or a proxy or login page is answering for it",
            )
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
