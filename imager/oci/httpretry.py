"""The retry policy as urllib3 takes it, and the reasons of its errors."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from http.client import IncompleteRead
from typing import Any, Self

import urllib3
from urllib3.exceptions import IncompleteRead as UrllibIncompleteRead
from urllib3.util import Retry

from imager.oci.retry import READING, RETRIED, Patience
from imager.oci.tracing import log_retry, public_url

# Parts of urllib3's and OpenSSL's messages around the cause: connections, numbers, lines of code.
_WRAPPING = re.compile(
    r"^(?:(?:<[^>]*>|\w+\(host=[^)]*\)): )?(?:Failed to establish a new connection: )?"
    r"|\[Errno -?\d+\] |\[SSL[^]]*\] |certificate verify failed: | \(_ssl\.c:\d+\)$"
)


class _BoundedRetry(Retry):
    """Retries of the URL `asked`; bounds Retry-After so that a server cannot stall a build."""

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
    """Return the seconds of Retry-After (RFC 9110, 10.2.3), at most `longest_delay`; default 0."""
    value = headers.get("Retry-After")
    return max(request_retries(patience).parse_retry_after(value), 0.0) if value else 0.0


def request_retries(patience: Patience, url: str = "") -> Retry:
    """Return the policy for a request: retry after overload and broken connections."""
    retries = _BoundedRetry(
        total=patience.retries,
        # A retry does not fix a certificate.
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


def reason_of(error: BaseException) -> str:
    """Return the innermost cause that urllib3 wrapped, without object addresses."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, IncompleteRead | UrllibIncompleteRead):
        return "it was closed early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _WRAPPING.sub("", str(error)) or type(error).__name__
