"""Logs requests and retries with Python's logging, without anything that may be a secret.

Retries are logged at level INFO, as they explain why a run pauses; requests at DEBUG. Each record
has `fields` with the same information for programs.
"""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

_LOG = logging.getLogger(__name__)


def log_request(method: str, url: str, outcome: int | str, seconds: float) -> None:
    """Log a request that took `seconds`; `outcome` is the HTTP status or the failure."""
    shown = public_url(url)
    result = f"HTTP {outcome}" if isinstance(outcome, int) else outcome
    fields = {"method": method, "url": shown, "outcome": outcome, "seconds": round(seconds, 3)}
    _LOG.debug("%s %s: %s, %.2f s", method, shown, result, seconds, extra={"fields": fields})


def log_retry(reason: str, pause: float) -> None:
    """Log a retry after `pause` seconds, and its reason."""
    when = f"in {pause:.1f} s" if pause >= 0.05 else "now"
    fields = {"reason": reason, "pause": round(pause, 3)}
    _LOG.info("%s; trying again %s", reason, when, extra={"fields": fields})


def public_url(url: str) -> str:
    """Return `url` without user information and query, which may contain a signature."""
    parts = urlsplit(url)
    query = "?..." if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"
