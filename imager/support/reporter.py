"""Progress output: steps, waits, transfers, warnings. Build code never prints.

A reporter receives events; `make_reporter` selects where they appear (a terminal with progress
bars, plain lines, JSON lines, nowhere). All reporters write to standard error, so that standard
output carries only results.
"""

from __future__ import annotations

import enum
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Protocol

from imager.support.meter import Meter, log_line
from imager.support.screen import Tone, is_dumb, labelled, printable, with_fields

Advance = Callable[[int], None]

_PLAIN_INTERVAL = 5.0  # seconds between two progress lines in a log
_JSON_INTERVAL = 0.5


class ProgressStyle(enum.Enum):
    """How to show progress; `auto` is rich on a terminal, otherwise plain, for example in CI."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class Reporter(Protocol):
    """A receiver of progress events."""

    def step(self, text: str, **fields: str) -> None:
        """Report the start of a named step; `fields` give its details."""

    def waiting(self, text: str) -> AbstractContextManager[None]:
        """Show during the block what it is waiting for."""

    def note(self, text: str, **fields: str | float) -> None:
        """Report a detail, such as a request or a retry; `fields` hold the same for programs."""

    def warn(self, *texts: str) -> None:
        """Report warnings: what the user should know that is not an error."""

    def transfer(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Show a transfer of `total` bytes; yields a function that advances it by a byte count.

        Pass bytes that existed before the run as `Kept`.
        """


def _write_line(stream: IO[str], text: str) -> None:
    stream.write(printable(text) + "\n")
    stream.flush()


class NullReporter:
    """Writes only warnings, to `stream` (default: standard error)."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._given = stream

    @property
    def _stream(self) -> IO[str]:
        return self._given or sys.stderr

    def step(self, text: str, **fields: str) -> None:
        """Ignore the step."""

    def waiting(self, text: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """Show nothing."""
        return nullcontext()

    def note(self, text: str, **fields: str | float) -> None:
        """Ignore the detail."""

    def warn(self, *texts: str) -> None:
        """Write the warnings."""
        for text in texts:
            self._stream.write(labelled(Tone.WARNING, text, self._stream) + "\n")
            self._stream.flush()

    def transfer(self, label: str, total: int) -> AbstractContextManager[Advance]:  # noqa: ARG002
        """Show nothing."""
        return nullcontext(lambda _: None)


QUIET: Reporter = NullReporter()


class _Ticking(Meter):
    """Calls `show()` at most every `interval` seconds as bytes arrive."""

    def __init__(self, total: int, interval: float, show: Callable[[Meter], None]) -> None:
        super().__init__(total)
        self._interval = interval
        self._show = show
        self._next = time.monotonic() + interval

    def advance(self, count: int) -> None:
        super().advance(count)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._interval
            self._show(self)


class PlainReporter(NullReporter):
    """Writes one line per event, for logs."""

    def step(self, text: str, **fields: str) -> None:
        """Write the step, followed by its fields as JSON."""
        _write_line(self._stream, with_fields(text, fields))

    def waiting(self, text: str) -> AbstractContextManager[None]:
        """Write what the block is waiting for."""
        self.step(text)
        return nullcontext()

    def note(self, text: str, **fields: str | float) -> None:  # noqa: ARG002 - the text says them
        """Write the detail."""
        _write_line(self._stream, text)

    @contextmanager
    def transfer(self, label: str, total: int) -> Iterator[Advance]:
        """Write a line every few seconds."""

        def show(meter: Meter) -> None:
            self.step(log_line(label, meter))

        yield _Ticking(total, _PLAIN_INTERVAL, show).advance


class JsonReporter(PlainReporter):
    """Writes one JSON object per line and event, for programs."""

    def _event(self, kind: str, **fields: str | float) -> None:
        _write_line(self._stream, json.dumps({"event": kind, **fields}))

    def step(self, text: str, **fields: str) -> None:
        """Write `{"event": "step", "text": ...}`, with the fields."""
        self._event("step", text=text, **fields)

    def note(self, text: str, **fields: str | float) -> None:
        """Write `{"event": "note", "text": ...}`, with the fields."""
        self._event("note", text=text, **fields)

    def warn(self, *texts: str) -> None:
        """Write `{"event": "warning", "text": ...}` for each of `texts`."""
        for text in texts:
            self._event("warning", text=text)

    @contextmanager
    def transfer(self, label: str, total: int) -> Iterator[Advance]:
        """Write `{"event": "progress", "label": ..., "done": bytes, "total": bytes}`."""

        def show(meter: Meter) -> None:
            self._event("progress", label=label, done=meter.done, total=total)

        meter = _Ticking(total, _JSON_INTERVAL, show)
        show(meter)
        yield meter.advance
        show(meter)


def make_reporter(style: ProgressStyle, stream: IO[str] | None = None) -> Reporter:
    """Return the reporter of `style` that writes to `stream` (default: standard error)."""
    stream = stream or sys.stderr
    match style:
        case ProgressStyle.AUTO:
            watched = stream.isatty() and not is_dumb() and not os.environ.get("CI")
            return make_reporter(ProgressStyle.RICH if watched else ProgressStyle.PLAIN, stream)
        case ProgressStyle.RICH:
            from imager.support.terminal import RichReporter

            return RichReporter(stream)
        case ProgressStyle.PLAIN:
            return PlainReporter(stream)
        case ProgressStyle.JSON:
            return JsonReporter(stream)
        case ProgressStyle.NONE:
            return NullReporter(stream)


def report_log(reporter: Reporter, *, verbose: bool) -> None:
    """Forward logged retries to `reporter`, and with `verbose` also logged requests.

    Registry clients run in many threads and deep in the call stack, so they use Python's logging.
    """
    import logging

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reporter.note(record.getMessage(), **getattr(record, "fields", {}))

    log = logging.getLogger("imager")
    log.handlers = [Handler()]
    log.propagate = False
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
