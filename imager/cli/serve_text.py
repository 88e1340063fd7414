"""Write the access log, one line per request, as text or JSON."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from typing import IO

from imager.registry.app import Exchange
from imager.support.reporter import ProgressStyle
from imager.support.screen import printable

_LONGEST = 500


def access_log(style: ProgressStyle, stream: IO[str] | None = None) -> Callable[[Exchange], None]:
    """Return a function that logs an exchange to `stream` (default: standard error)."""
    out = stream or sys.stderr
    if style is ProgressStyle.NONE:
        return lambda _: None
    line = _json if style is ProgressStyle.JSON else _text

    def write(exchange: Exchange) -> None:
        out.write(f"{line(exchange)}\n")
        out.flush()

    return write


def _text(exchange: Exchange) -> str:
    """Format a log line, escaping client input so that it cannot split fields or lines."""
    fields = [
        _now(),
        exchange.client,
        exchange.method,
        exchange.target[:_LONGEST],
        str(exchange.status or "-"),
        f"{exchange.sent}B",
        f"{1000 * exchange.seconds:.1f}ms",
        json.dumps(exchange.agent[:_LONGEST]),
    ]
    if exchange.problem:
        fields.append(json.dumps(exchange.problem[:_LONGEST]))
    return printable(" ".join(fields)).replace("\n", " ")


def _json(exchange: Exchange) -> str:
    return json.dumps(
        {
            "event": "request",
            "time": _now(),
            "client": exchange.client,
            "method": exchange.method,
            "target": exchange.target[:_LONGEST],
            "status": exchange.status,
            "bytes": exchange.sent,
            "seconds": round(exchange.seconds, 6),
            "agent": exchange.agent[:_LONGEST],
            "problem": exchange.problem[:_LONGEST],
        }
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
