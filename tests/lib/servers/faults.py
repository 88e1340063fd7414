"""What can go wrong with a request. An `Answer` in place of the right one is a fault as well."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from tests.lib.servers.messages import NO_ANSWER, Answer, Exchange, Request, Right

# The most seconds for which a request is held.
_HELD = 30.0


class Fault(Protocol):
    """What is done with a request; `right` gives the right answer, with its effects."""

    def apply(self, exchange: Exchange, right: Right) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Nothing:
    """The right answer, for one request among others with faults."""

    def apply(self, exchange: Exchange, right: Right) -> Answer:
        return right(exchange)


RIGHT = Nothing()


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends, or stalls, after so many bytes of the right body."""

    after: int
    stall: bool = False

    def apply(self, exchange: Exchange, right: Right) -> Answer:
        return replace(right(exchange), cut=self.after, stall=self.stall)


@dataclass(frozen=True, slots=True)
class CutAt:
    """The connection ends, or stalls, before a byte of the blob, whatever range was asked for."""

    position: int
    stall: bool = False

    def apply(self, exchange: Exchange, right: Right) -> Answer:
        answer = right(exchange)
        start = exchange.request.start if answer.status == 206 else 0
        return replace(answer, cut=max(self.position - start, 0), stall=self.stall)


@dataclass(frozen=True, slots=True)
class NoRanges:
    """A request for a range is answered with everything; `then` goes wrong with that."""

    then: Fault = RIGHT

    def apply(self, exchange: Exchange, right: Right) -> Answer:
        return self.then.apply(exchange.without("range"), right)


@dataclass(frozen=True, slots=True)
class CutUpload:
    """The connection ends after so many bytes of the request's body, which the server keeps."""

    after: int
    keeps: bool = True

    def apply(self, exchange: Exchange, right: Right) -> Answer:
        exchange.limit = self.after
        if self.keeps or not exchange.broken:
            right(exchange)
        else:
            exchange.take()
        return NO_ANSWER


@dataclass(frozen=True, slots=True)
class Lost:
    """The request has its effect, and its answer is lost with the connection."""

    def apply(self, exchange: Exchange, right: Right) -> Answer:
        right(exchange)
        return NO_ANSWER


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is done with the request until `go_on` is set; `came` is set before."""

    came: threading.Event
    go_on: threading.Event

    def apply(self, exchange: Exchange, right: Right) -> Answer:
        self.came.set()
        assert self.go_on.wait(_HELD)
        return right(exchange)


@dataclass(frozen=True, slots=True)
class Altered:
    """The right answer, changed."""

    change: Callable[[Request, Answer], Answer]

    def apply(self, exchange: Exchange, right: Right) -> Answer:
        return self.change(exchange.request, right(exchange))
