"""Uploads one blob to a registry: OCI distribution specification 1.1, section Pushing blobs.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs A blob larger
than a chunk is sent in chunks, and an interrupted upload resumes at the byte that the registry
reports. A smaller blob, or one for a registry without chunked uploads, is sent in one request.
"""

from __future__ import annotations

import enum
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from imager.oci.blobreader import BlobReader
from imager.oci.client import Request
from imager.oci.errors import RegistryFailedError
from imager.oci.failures import RefusedError
from imager.oci.manifest import Descriptor
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.retry import NO_METHOD, BusyError, ConnectionLostError, insist
from imager.oci.transport import NoAnswerError, Response, follow
from imager.support.errors import DependencyError

_RANGE = re.compile(r"(?:bytes[= ])?0-(\d{1,19})", re.ASCII)
_NUMBER = re.compile(r"\d{1,19}", re.ASCII)
_BYTES = {"Content-Type": "application/octet-stream"}


class Outcome(enum.Enum):
    """How the blob got into the repository."""

    SENT = "sent"
    THERE = "already present"
    MOUNTED = "mounted from another repository"


class _UnsureError(DependencyError):
    """The registry may lack bytes that were sent: query its offset and resume there."""


# The transport does not retry a request with a body, as it cannot know how much has arrived.
PASSING = (NoAnswerError, ConnectionLostError, BusyError, _UnsureError)


@dataclass(frozen=True, slots=True)
class Target:
    """The destination of blobs; `chunk_size` is in bytes, 0 sends each blob in one request.

    `mount_from` is another repository of the registry that may already have the blob.
    """

    client: RegistryClient
    reference: Reference
    chunk_size: int
    mount_from: str | None = None


def has_blob(target: Target, blob: Descriptor) -> bool:
    """Return whether the repository reports having the blob; raises as `RegistryClient.request`."""
    asked = Request("HEAD", f"blobs/{blob.digest}", accepted=(200, 404, *NO_METHOD))
    with target.client.request(target.reference, asked) as response:
        return response.status == 200


def upload_blob(target: Target, reader: BlobReader) -> Outcome:
    """Upload a blob that the repository does not have.

    After a failure the upload resumes at the registry's offset, within the client's limit of
    retries; an upload session that the registry has lost is restarted up to the same limit. Raises
    InputError for a damaged blob and when access is refused, NotFoundError when the repository does
    not exist, DependencyError when the registry fails or rejects the blob.
    """
    upload = _Upload(target, reader)
    while upload.outcome is None:
        insist(upload.step, target.client.patience, passing=PASSING)
    return upload.outcome


@dataclass(frozen=True, slots=True)
class _Session:
    """An upload session at `url`, of which the registry has `offset` bytes."""

    url: str
    offset: int = 0
    chunk: int = 0


class _Upload:
    """The state machine of an upload; `step` advances it."""

    def __init__(self, target: Target, reader: BlobReader) -> None:
        self.outcome: Outcome | None = None
        self._target = target
        self._reader = reader
        self._size = reader.blob.size
        self._whole = not 0 < target.chunk_size < self._size
        self._session: _Session | None = None
        self._sessions = 0
        # Whether the registry may have more or fewer of the bytes sent than recorded here.
        self._unsure = False

    def step(self) -> None:
        """Send the next request, or detect that an earlier one succeeded."""
        if self._unsure and self._find_out():
            return
        session = self._session
        if session is None:
            self._open()
        elif self._whole or session.offset == self._size:
            self._unsure = True
            self._finish(session)
        else:
            self._unsure = True
            self._send_chunk(session)
            self._unsure = False

    def _request(self, asked: Request) -> AbstractContextManager[Response]:
        return self._target.client.request(self._target.reference, asked)

    def _open(self) -> None:
        self._sessions += 1
        if self._sessions > 1 + self._target.client.patience.retries:
            raise RegistryFailedError(
                f"the upload of blob {self._reader.blob.digest} to "
                f"{self._target.reference.registry} failed {self._sessions - 1} times",
                hint="check the network; replicas of a registry must share storage and HTTP secret",
            )
        origin = self._target.mount_from if self._sessions == 1 else None
        mount = {"mount": str(self._reader.blob.digest), "from": origin or ""}
        query = f"?{urlencode(mount)}" if origin else ""
        asked = Request("POST", f"blobs/uploads/{query}", accepted=(201, 202) if query else (202,))
        with self._request(asked) as response:
            if response.status == 201:
                self.outcome = Outcome.MOUNTED
                return
            url = _location(response)
            smallest = response.headers.get("OCI-Chunk-Min-Length", "")
        if url is None:
            raise RefusedError(
                f"{self._target.reference.registry} returned no Location header for the upload"
            )
        least = int(smallest) if _NUMBER.fullmatch(smallest) else 0
        chunk = max(self._target.chunk_size, least)
        self._whole = self._whole or chunk >= self._size
        self._session = _Session(url, 0, chunk)

    def _send_chunk(self, session: _Session) -> None:
        start, end = session.offset, min(session.offset + session.chunk, self._size)
        asked = Request(
            "PATCH",
            session.url,
            headers={**_BYTES, "Content-Range": f"{start}-{end - 1}"},
            body=self._reader.body(start, end),
            accepted=(202, 404, 416),
        )
        try:
            with self._request(asked) as response:
                status, url = response.status, _location(response) or session.url
                has = _has(response, sent=end)
        except RefusedError:
            # Some registries only accept a blob in one piece.
            self._whole, self._session = True, None
            return
        if status != 202:
            raise self._lost(session, status)
        has = end if has is None else has
        self._session = _Session(url, has, session.chunk) if has <= end else None
        if has != end:
            raise _UnsureError(
                f"{urlsplit(url).netloc} has {has} bytes of the {end} that were sent"
            )

    def _finish(self, session: _Session) -> None:
        mark = "&" if urlsplit(session.url).query else "?"
        asked = Request(
            "PUT",
            f"{session.url}{mark}{urlencode({'digest': str(self._reader.blob.digest)})}",
            headers=_BYTES,
            body=self._reader.body(session.offset, self._size),
            accepted=(200, 201, 204, 404, 416),
        )
        with self._request(asked) as response:
            status = response.status
        if status in (404, 416):
            raise self._lost(session, status)
        self.outcome = Outcome.SENT

    def _lost(self, session: _Session, status: int) -> _UnsureError:
        return _UnsureError(
            f"{urlsplit(session.url).netloc} does not resume the upload of blob "
            f"{self._reader.blob.digest} at byte {session.offset}: HTTP {status}",
            hint="run the command again later",
        )

    def _find_out(self) -> bool:
        """Query how many bytes have arrived; return whether there are more than recorded."""
        if has_blob(self._target, self._reader.blob):
            self.outcome = Outcome.SENT
            return True
        session, self._session = self._session, None
        self._unsure = False
        if session is None or self._whole:
            return False
        asked = Request("GET", session.url, accepted=(200, 202, 204, 400, 404, 405, 416))
        with self._request(asked) as response:
            has = _has(response, sent=self._reader.reached)
            if response.status < 400 and has is not None and has <= self._reader.reached:
                url = _location(response) or session.url
                self._session = _Session(url, has, session.chunk)
        return self._session is not None and self._session.offset > session.offset


def _location(response: Response) -> str | None:
    target = response.headers.get("Location")
    return follow(response.url, target) if target else None


def _has(response: Response, *, sent: int) -> int | None:
    """Return how many of the `sent` bytes the registry reports, None without a report."""
    found = _RANGE.fullmatch(response.headers.get("Range", "").strip())
    if found is None:
        return None
    # Registries also report 0-0 for no bytes.
    return 0 if found[1] == "0" and sent != 1 else int(found[1]) + 1
