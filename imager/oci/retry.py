"""How often, and how patiently, a registry is asked again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import urllib3
from urllib3.util import Retry

from imager.oci.tracing import log_retry, public_url, reason_of
from imager.support.errors import DependencyError

# RFC 9110, 9.2.1: what only reads may be sent again.
READING = frozenset({"GET", "HEAD"})
# What a server answers that does not know the method: RFC 9110, 15.5.6 and 15.6.2.
NO_METHOD = (405, 501)
# What passes: too slow or too many requests, or a server or proxy that fails for now; from 520 on,
# what Cloudflare says of the server behind it (Docker Hub's blobs come from there).
RETRIED = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525)})
_T = TypeVar("_T")


class ConnectionLostError(DependencyError):
    """A body broke off or stalled: what came before it is good, and the rest can be asked for."""


class BusyError(DependencyError):
    """The registry does not answer as it should for now; `pause` is what it asks for, seconds."""

    def __init__(self, message: str, *, hint: str, pause: float) -> None:
        super().__init__(message, hint=hint)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try: `retries` after the first, waiting `first_delay` seconds, doubled each.

    The same number of retries holds for a request, for a manifest whose body breaks off or that is
    not taken, and for requests in a row that bring nothing new of a blob. `longest_delay` bounds a
    wait, whatever Retry-After says; `connect` and `read` are the limits, in seconds, of silence
    while connecting and between two pieces; `probe` is that of both when a scheme is tried.
    """

    retries: int = 5
    first_delay: float = 0.5
    longest_delay: float = 60.0
    connect: float = 10.0
    read: float = 60.0
    probe: float = 3.0

    def pause(self, failures: int, reason: str) -> None:
        """Wait as one does after `failures` requests in a row that brought nothing, and log why.

        The wait is between half of the delay and all of it, by chance: clients that were cut off
        together do not come back together.
        """
        # 2.0**1024 would be an error, and every bound is reached long before.
        delay = min(self.first_delay * 2.0 ** min(failures, 64), self.longest_delay)
        delay *= random.uniform(0.5, 1.0)  # noqa: S311
        log_retry(reason, delay)
        time.sleep(delay)


def insist(
    attempt: Callable[[], _T],
    patience: Patience,
    *,
    passing: tuple[type[DependencyError], ...] = (ConnectionLostError,),
) -> _T:
    """Return what `attempt` returns, called again while it fails in a way that may pass.

    Raises an error of `passing` when it still does after `patience.retries` more calls, and at
    once whatever else `attempt` raises.
    """
    failures = 0
    while True:
        try:
            return attempt()
        except passing as error:
            failures += 1
            if failures > patience.retries:
                raise
            reason = error.message
            asked = error.pause if isinstance(error, BusyError) else 0
        if asked:
            log_retry(reason, asked)
            time.sleep(asked)
        patience.pause(failures, reason)


class _BoundedRetry(Retry):
    """Retries of `asked`, a URL, with a bound on Retry-After: a server must not stall a build."""

    asked = ""

    def new(self, **settings: Any) -> Self:
        made = super().new(**settings)
        made.asked = self.asked
        return made

    def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
        wanted = self.get_retry_after(response) if response else None
        pause = wanted or self.get_backoff_time()
        last = self.history[-1]
        failure = reason_of(last.error) if last.error else f"HTTP {last.status}"
        log_retry(f"{public_url(self.asked)}: {failure}", pause)
        time.sleep(pause)

    def parse_retry_after(self, retry_after: str) -> float:
        try:
            return min(super().parse_retry_after(retry_after), self.backoff_max)
        except (ValueError, OverflowError, urllib3.exceptions.InvalidHeader):
            return self.backoff_max


def asked_pause(headers: Mapping[str, str], patience: Patience) -> float:
    """Return the seconds of Retry-After (RFC 9110, 10.2.3), at most `longest_delay`; else 0."""
    value = headers.get("Retry-After")
    return max(request_retries(patience).parse_retry_after(value), 0.0) if value else 0.0


def request_retries(patience: Patience, url: str = "") -> Retry:
    """Return the policy for a request: overload and broken connections are tried again."""
    retries = _BoundedRetry(
        total=patience.retries,
        # Certificates do not get better by asking again.
        other=0,
        redirect=False,
        status_forcelist=RETRIED,
        allowed_methods=READING,
        backoff_factor=patience.first_delay,
        backoff_jitter=patience.first_delay,
        backoff_max=patience.longest_delay,
        raise_on_status=False,
    )
    retries.asked = url
    return retries
