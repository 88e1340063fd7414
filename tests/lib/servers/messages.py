"""What is said over HTTP to a server of the tests, and what it says."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BufferedIOBase
from typing import Protocol
from urllib.parse import parse_qs

_BYTES = re.compile(r"bytes=(\d+)-(\d*)")
_PART = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True, slots=True)
class Request:
    """A request: `target` as it is in the request line, the names of `headers` in lower case.

    `body` is as much of the body as has been read.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray, compare=False, repr=False)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> Mapping[str, list[str]]:
        return parse_qs(self.target.partition("?")[2])

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def wanted(self) -> tuple[int, int | None] | None:
        """Return the first byte of Range and the one after the last (None: the end)."""
        found = _BYTES.fullmatch(self.range or "")
        return (int(found[1]), int(found[2]) + 1 if found[2] else None) if found else None

    @property
    def start(self) -> int:
        """Return the first byte that is asked for."""
        return self.wanted[0] if self.wanted else 0

    @property
    def part(self) -> tuple[int, int] | None:
        """Return the first byte of Content-Range of an upload, and the one after the last."""
        found = _PART.fullmatch(self.headers.get("content-range", ""))
        return (int(found[1]), int(found[2]) + 1) if found else None


class Right(Protocol):
    """How a server answers a request when nothing goes wrong."""

    def __call__(self, exchange: Exchange, /) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent; Content-Length is that of the body unless `headers` say something else.

    The connection ends after `cut` bytes of the body (None: it is sent whole); with `stall` nothing
    more is sent and the connection stays open. `then` takes over the connection after the answer.
    """

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    cut: int | None = None
    stall: bool = False
    then: Callable[[socket.socket], None] | None = None

    def apply(self, exchange: Exchange, right: Right) -> Answer:
        """Be answered in place of what is right; the request's body is read and forgotten."""
        exchange.take()
        return self


# The connection ends instead.
NO_ANSWER = Answer(0)


@dataclass(slots=True)
class Exchange:
    """A request whose body may still be on its way.

    With a `limit`, the connection counts as broken after so many bytes of the body, as it does when
    it ends before that.
    """

    request: Request
    stream: BufferedIOBase
    length: int
    limit: int | None = None
    ended: bool = False

    @property
    def broken(self) -> bool:
        return self.ended or (self.limit is not None and self.limit < self.length)

    @property
    def left(self) -> int:
        """Return how much of the body is still to be read."""
        whole = self.length if self.limit is None else min(self.limit, self.length)
        return whole - len(self.request.body)

    def take(self) -> bytes:
        """Read the body, up to the limit, and return all of it."""
        if not self.ended and (left := self.left) > 0:
            self.request.body.extend(self.stream.read(left))
            self.ended = self.left > 0
        return bytes(self.request.body)

    def without(self, header: str) -> Exchange:
        """Return the exchange as if the request did not have `header`."""
        kept = {name: value for name, value in self.request.headers.items() if name != header}
        return replace(self, request=replace(self.request, headers=kept))
