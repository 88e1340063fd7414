"""Retry policy for requests to registries."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from imager.oci.errors import RegistryFailedError, RegistryUnreachableError
from imager.oci.tracing import log_retry
from imager.support.errors import DependencyError

# RFC 9110, 9.2.1: safe methods may be retried.
READING = frozenset({"GET", "HEAD"})
# Statuses of servers that do not support the method: RFC 9110, 15.5.6 and 15.6.2.
NO_METHOD = (405, 501)
# Transient failures: a slow or overloaded server, or one that is down for now; from 520 on,
# Cloudflare's statuses for the server behind it (which serves Docker Hub's blobs).
RETRIED = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525)})
_T = TypeVar("_T")


class ConnectionLostError(RegistryUnreachableError):
    """A body broke off or stalled; the bytes received are valid and the rest can be requested."""


class BusyError(RegistryFailedError):
    """The registry is temporarily unavailable; `pause` is the delay it requests, in seconds."""

    def __init__(self, message: str, *, hint: str, pause: float) -> None:
        super().__init__(message, hint=hint)
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Patience:
    """Limits of retries and timeouts.

    The first of `retries` waits `first_delay` seconds, and each further one twice as long. The same
    number of retries applies to a request, to a manifest whose body breaks off or whose upload is
    not accepted, and to consecutive requests that bring no new bytes of a blob. `longest_delay`
    bounds a wait, whatever Retry-After says. `connect` and `read` are the timeouts, in seconds, of
    connecting and between two pieces; `probe` is both timeouts when a scheme is probed.
    """

    retries: int = 5
    first_delay: float = 0.5
    longest_delay: float = 60.0
    connect: float = 10.0
    read: float = 60.0
    probe: float = 3.0

    def pause(self, failures: int, reason: str) -> None:
        """Wait after `failures` consecutive requests without new bytes, and log the reason.

        The wait is a random time between half of the delay and all of it, so that clients cut off
        together do not reconnect together.
        """
        # 2.0**1024 would overflow; every bound is reached long before 2**64.
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
    """Return the result of `attempt`, called again after each transient failure.

    Raises the error of type `passing` if it fails `patience.retries` more times; any other error is
    raised at once.
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
