"""What programmable servers have in common: they do what is right, but for what a test tells them.

    registry.fault(BLOB_PATH, Answer(503), Cut(after=999))  # the next two requests
    registry.always(Where("PATCH"), Answer(405))            # all requests
    registry.decide(lambda request: None if request.authorization else CHALLENGE)

Of several rules for a request the newest goes first. `log` has every request as it came.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.lib.servers.faults import RIGHT, Fault
from tests.lib.servers.loopback import serving_http
from tests.lib.servers.messages import Answer, Exchange
from tests.lib.servers.rules import ANY, Decide, Log, Rules, Where


@dataclass
class Programmable:
    """A server on loopback; a subclass says what is right."""

    port: int = 0
    scheme: str = "http"
    log: Log = field(default_factory=Log)
    rules: Rules = field(default_factory=Rules)
    lock: threading.RLock = field(default_factory=threading.RLock)
    # After how many sent bytes the next connection ends; None: it lives.
    limit: Callable[[], int | None] = lambda: None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def fault(self, where: Where | str, *faults: Fault) -> None:
        """Do this with the next requests, one after another; `where` may be a whole target."""
        turns = iter(faults)
        self.rules.add(where, lambda _: next(turns, None))

    def always(self, where: Where | str, fault: Fault) -> None:
        """Do this with all requests."""
        self.rules.add(where, lambda _: fault)

    def decide(self, decide: Decide, where: Where | str = ANY) -> None:
        """Do with a request what the function says, which is called for one at a time."""
        self.rules.add(where, decide)

    def heal(self) -> None:
        """Forget all that was to go wrong."""
        with self.lock:
            self.rules.rules.clear()

    def right(self, exchange: Exchange) -> Answer:
        """Return the right answer, after what the request asks for was done."""
        raise NotImplementedError

    def answer(self, exchange: Exchange) -> Answer:
        with self.lock:
            self.log.requests.append(exchange.request)
            fault = self.rules.find(exchange.request) or RIGHT
        return fault.apply(exchange, self.right)

    @contextlib.contextmanager
    def running(self, certificate: tuple[Path, Path] | None = None) -> Iterator[None]:
        """Listen until the context is left; with `certificate` (and its key), over TLS."""
        self.scheme = "https" if certificate else "http"
        with serving_http(self.answer, certificate=certificate, limit=self.limit) as self.port:
            yield
