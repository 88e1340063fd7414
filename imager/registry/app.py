"""The HTTP handler of the registry: parses requests, sends replies and logs each exchange.

Read-only. For both missing and damaged content it sends 404 with the specification's error
document, so that clients try the next mirror.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from aiohttp import HttpVersion10
from aiohttp.web import BaseRequest, Response, StreamResponse

from imager import __version__
from imager.oci.digest import Digest
from imager.registry.blobs import Blobs, OpenBlob
from imager.registry.catalog import Catalog
from imager.registry.ranges import Selection, select
from imager.registry.responses import METHODS, Reply, reply_to
from imager.registry.routes import Refusal, Target, parse_target
from imager.registry.transfer import Channel, send_blob

_COMMON = {"Server": f"imager/{__version__}", "Docker-Distribution-Api-Version": "registry/2.0"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its outcome: `sent` bytes of body in `seconds`.

    `target` is the path and query as sent, `route` the parsed request. `problem` says why the
    request was refused, or why its response was not sent completely.
    """

    client: str
    method: str
    target: str
    agent: str
    route: Target
    status: int = 0
    sent: int = 0
    seconds: float = 0
    problem: str = ""


class RegistryApp:
    """Answers requests from a replaceable catalog; reports each exchange to `log`.

    A client that receives nothing of a blob for `patience` seconds is disconnected.
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
        """Answer `request`; raises ConnectionError when the client has disconnected or stalled."""
        route, started = _route(request), time.monotonic()
        status, sent, problem = 0, 0, ""
        try:
            with ExitStack() as stack:
                reply = await reply_to(route, self.catalog, self._blobs, stack)
                response = await self._send(request, reply)
            status, problem = response.status, reply.problem
            sent = 0 if problem or request.method == "HEAD" else response.content_length or 0
        except ConnectionError as error:
            problem = f"not sent completely: {error}"
            raise
        finally:
            agent = request.headers.get("User-Agent", "")
            self._log(
                Exchange(
                    request.remote or "-",
                    request.method,
                    request.raw_path,
                    agent,
                    route,
                    status,
                    sent,
                    time.monotonic() - started,
                    problem,
                )
            )
        return response

    async def _send(self, request: BaseRequest, reply: Reply) -> StreamResponse:
        part, headers = _part(request, reply)
        if isinstance(reply.body, bytes):
            data = reply.body[part.start : part.start + part.length]
            return Response(status=part.status, body=data, headers=headers)
        return await self._stream(request, reply.body, part, headers)

    async def _stream(
        self, request: BaseRequest, blob: OpenBlob, part: Selection, headers: dict[str, str]
    ) -> StreamResponse:
        response = StreamResponse(status=part.status, headers=headers)
        response.content_length = part.length
        writer = await response.prepare(request)
        transport = request.transport
        if writer is None or transport is None:
            raise ConnectionAbortedError("the client has disconnected")
        if request.method == "GET" and part.length:
            writer.send_headers()
            channel = Channel(transport, writer, self._patience)
            await send_blob(channel, blob, part.start, part.length)
        await response.write_eof()
        return response


def _route(request: BaseRequest) -> Target:
    if request.version < HttpVersion10:
        return Refusal(505, "UNSUPPORTED", "only HTTP/1.0 and HTTP/1.1 are supported")
    if request.method not in METHODS:
        return Refusal(
            405, "UNSUPPORTED", "this registry is read-only: only GET and HEAD are allowed"
        )
    return parse_target(request.rel_url.raw_path, request.rel_url.raw_query_string)


def _part(request: BaseRequest, reply: Reply) -> tuple[Selection, dict[str, str]]:
    """Select the part of a reply that the request asks for, and return it with its headers."""
    headers = _COMMON | {"Content-Type": reply.content_type} | dict(reply.headers)
    if reply.status != 200:
        return Selection(reply.status, 0, reply.size), headers
    if reply.digest is not None:
        headers["Docker-Content-Digest"] = str(reply.digest)
    tag = reply.digest or Digest.of(reply.body if isinstance(reply.body, bytes) else b"")
    headers |= {"Accept-Ranges": "bytes", "ETag": f'"{tag}"'}
    part = select(request, etag=str(tag), size=reply.size)
    if part.status == 206:
        last = part.start + part.length - 1
        headers["Content-Range"] = f"bytes {part.start}-{last}/{reply.size}"
    elif part.status == 416:
        headers["Content-Range"] = f"bytes */{reply.size}"
    return part, headers
