"""The registry over HTTP: requests taken apart, answers sent, each exchange told.

Read-only. What is not there is 404 with the specification's error document, also where it is
damaged: clients then ask the next mirror.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from aiohttp import HttpVersion10
from aiohttp.web import BaseRequest, Response, StreamResponse

from imager import __version__
from imager.oci.digest import Digest
from imager.registry.blobs import Blobs, OpenBlob
from imager.registry.catalog import Catalog
from imager.registry.ranges import Selection, select
from imager.registry.responses import JSON, Document, answer, error_document
from imager.registry.routes import BlobTarget, Refusal, parse_target
from imager.registry.transfer import Channel, send_blob
from imager.support.errors import InputError

_METHODS = ("GET", "HEAD")
_COMMON = {"Server": f"imager/{__version__}", "Docker-Distribution-Api-Version": "registry/2.0"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what became of it: `sent` bytes of body in `seconds`.

    `problem` is why it was refused, or not sent to its end.
    """

    client: str
    method: str
    target: str
    agent: str
    status: int = 0
    sent: int = 0
    seconds: float = 0
    problem: str = ""


class RegistryApp:
    """Answers from a catalog, which may be replaced; tells `log` of each exchange.

    A client that takes nothing of a blob is given up after `patience` seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        blobs: Blobs,
        log: Callable[[Exchange], None],
        *,
        patience: float,
    ) -> None:
        self.catalog = catalog
        self._blobs = blobs
        self._log = log
        self._patience = patience

    def replace(self, catalog: Catalog) -> None:
        """Answer from `catalog` from now on."""
        self.catalog = catalog
        self._blobs.forget_all_but(
            (digest, place) for digest, places in catalog.blobs.items() for place in places
        )

    async def handle(self, request: BaseRequest) -> StreamResponse:
        """Answer `request`; raises ConnectionError when its client is gone or given up."""
        exchange = Exchange(
            request.remote or "-",
            request.method,
            request.raw_path,
            request.headers.get("User-Agent", ""),
        )
        started = time.monotonic()
        try:
            response, exchange = await self._answer(request, exchange)
        except ConnectionError as error:
            exchange = replace(exchange, problem=f"not sent to its end: {error}")
            raise
        finally:
            self._log(replace(exchange, seconds=time.monotonic() - started))
        return response

    async def _answer(
        self, request: BaseRequest, exchange: Exchange
    ) -> tuple[StreamResponse, Exchange]:
        with ExitStack() as stack:
            found = await self._find(request, stack)
            if isinstance(found, Refusal):
                refused = _refuse(found)
                return refused, replace(exchange, status=found.status, problem=found.message)
            response = (
                _document(request, found)
                if isinstance(found, Document)
                else await self._send(request, *found)
            )
        sent = response.content_length or 0
        return response, replace(
            exchange, status=response.status, sent=0 if request.method == "HEAD" else sent
        )

    async def _find(
        self, request: BaseRequest, stack: ExitStack
    ) -> Document | Refusal | tuple[str, OpenBlob]:
        if request.version < HttpVersion10:
            return Refusal(505, "UNSUPPORTED", "this registry speaks HTTP/1.0 and 1.1")
        if request.method not in _METHODS:
            return Refusal(405, "UNSUPPORTED", "this registry is read-only: GET and HEAD alone")
        catalog = self.catalog
        url = request.rel_url
        found = answer(catalog, parse_target(url.raw_path, url.raw_query_string))
        if not isinstance(found, BlobTarget):
            return found
        blob = await self._blobs.open(stack, found.digest, catalog.blobs[found.digest])
        if isinstance(blob, InputError):
            return Refusal(404, "BLOB_UNKNOWN", blob.message)
        return str(found.digest), blob

    async def _send(self, request: BaseRequest, digest: str, blob: OpenBlob) -> StreamResponse:
        size = blob.content.size
        selection = select(request, etag=digest, size=size)
        headers = _headers(selection, digest, size) | {"Content-Type": "application/octet-stream"}
        response = StreamResponse(status=selection.status, headers=headers)
        response.content_length = selection.length
        writer = await response.prepare(request)
        transport = request.transport
        if writer is None or transport is None:
            raise ConnectionAbortedError("the client has gone")
        if request.method == "GET" and selection.length:
            writer.send_headers()
            part = (selection.start, selection.length)
            await send_blob(Channel(transport, writer, self._patience), blob, *part)
        await response.write_eof()
        return response


def _refuse(refusal: Refusal) -> Response:
    headers = _COMMON | ({"Allow": ", ".join(_METHODS)} if refusal.status == 405 else {})
    return Response(
        status=refusal.status, body=error_document(refusal), content_type=JSON, headers=headers
    )


def _document(request: BaseRequest, document: Document) -> Response:
    digest = str(document.digest or Digest.of(document.data))
    selection = select(request, etag=digest, size=len(document.data))
    headers = _headers(selection, digest, len(document.data)) | dict(document.headers)
    if document.digest is None:
        del headers["Docker-Content-Digest"]
    end = selection.start + selection.length
    return Response(
        status=selection.status,
        body=document.data[selection.start : end],
        headers=headers | {"Content-Type": document.content_type},
    )


def _headers(selection: Selection, digest: str, size: int) -> dict[str, str]:
    headers = _COMMON | {
        "Accept-Ranges": "bytes",
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }
    if selection.status == 206:
        last = selection.start + selection.length - 1
        return headers | {"Content-Range": f"bytes {selection.start}-{last}/{size}"}
    return headers | ({"Content-Range": f"bytes */{size}"} if selection.status == 416 else {})
