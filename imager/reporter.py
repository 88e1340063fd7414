"""What a user sees of a run: steps, transfers, notices. Building code never prints.

A reporter receives events; where they go (a terminal with bars, plain lines, JSON lines,
nowhere) is decided once, by `make_reporter`. All of them write to standard error, so that
standard output carries results alone.
"""

from __future__ import annotations

import enum
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Protocol

from imager.units import format_size

Advance = Callable[[int], None]

NO_COLOR = "--no-color"  # the option
_PLAIN_INTERVAL = 5.0  # seconds between two progress lines in a log
_JSON_INTERVAL = 0.5


class ProgressStyle(enum.Enum):
    """How progress is shown; `auto` is rich on a terminal and plain elsewhere."""

    AUTO = "auto"
    RICH = "rich"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class Reporter(Protocol):
    """Where events go."""

    def step(self, text: str, **fields: str) -> None:
        """Tell that a named step begins; `fields` say of what."""

    def warn(self, text: str) -> None:
        """Tell of something the user should know but that is no error."""

    def transfer(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """Show a transfer of `total` bytes; yields the function that advances it by bytes."""


def printable(text: str) -> str:
    """Return `text` without what could drive a terminal: it may quote archives and registries."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


class Tone(enum.Enum):
    """What a line for a person is: its label, and the color of that (ECMA-48, 8.3.117)."""

    ERROR = ("error", "1;31")
    WARNING = ("warning", "1;33")
    HINT = ("hint", "1;36")


def uses_color(stream: IO[str]) -> bool:
    """Whether `stream` is written to in color: see no-color.org and force-color.org."""
    if NO_COLOR in sys.argv or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def labelled(tone: Tone, text: str, stream: IO[str]) -> str:
    """Return `text` behind its label, as it is printed to `stream`."""
    label, color = tone.value
    shown = f"\033[{color}m{label}:\033[0m" if uses_color(stream) else f"{label}:"
    return f"{shown} {printable(text)}"


def _write_line(stream: IO[str], text: str) -> None:
    stream.write(printable(text) + "\n")
    stream.flush()


def _with_fields(text: str, fields: Mapping[str, str]) -> str:
    return f"{text} {json.dumps(fields)}" if fields else text


class NullReporter:
    """Says nothing but warnings."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def step(self, text: str, **fields: str) -> None:
        """Ignore the step."""

    def warn(self, text: str) -> None:
        """Write the warning."""
        self._stream.write(labelled(Tone.WARNING, text, self._stream) + "\n")
        self._stream.flush()

    def transfer(self, label: str, total: int) -> AbstractContextManager[Advance]:  # noqa: ARG002
        """Show nothing."""
        return nullcontext(lambda _: None)


class _Meter:
    """Counts bytes and calls `show(done)` now and then, and once at the end."""

    def __init__(self, interval: float, show: Callable[[int], None]) -> None:
        self._interval = interval
        self._show = show
        self._next = time.monotonic() + interval
        self.done = 0

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._interval
            self._show(self.done)


class PlainReporter(NullReporter):
    """Writes a line per event, for logs."""

    def step(self, text: str, **fields: str) -> None:
        """Write the step, its fields as JSON behind it."""
        _write_line(self._stream, _with_fields(text, fields))

    @contextmanager
    def transfer(self, label: str, total: int) -> Iterator[Advance]:
        """Write a line every few seconds."""
        started = time.monotonic()

        def show(done: int) -> None:
            seconds = max(time.monotonic() - started, 1e-6)
            rate = done / seconds
            left = (total - done) / rate if rate else 0.0
            percent = 100 * done // total if total else 100
            self.step(
                f"{label}: {percent} % of {format_size(total)}, "
                f"{format_size(int(rate))}/s, {left:.0f} s left"
            )

        yield _Meter(_PLAIN_INTERVAL, show).advance


class JsonReporter:
    """Writes a JSON object per event and line, for programs."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def _event(self, kind: str, **fields: str | int) -> None:
        _write_line(self._stream, json.dumps({"event": kind, **fields}))

    def step(self, text: str, **fields: str) -> None:
        """Write `{"event": "step", "text": ...}`, with the fields."""
        self._event("step", text=text, **fields)

    def warn(self, text: str) -> None:
        """Write `{"event": "warning", "text": ...}`."""
        self._event("warning", text=text)

    @contextmanager
    def transfer(self, label: str, total: int) -> Iterator[Advance]:
        """Write `{"event": "progress", "label": ..., "done": bytes, "total": bytes}`."""

        def show(done: int) -> None:
            self._event("progress", label=label, done=done, total=total)

        meter = _Meter(_JSON_INTERVAL, show)
        show(0)
        yield meter.advance
        show(meter.done)


class RichReporter:
    """Shows bars with bytes, rate and time left on a terminal."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False)

    def step(self, text: str, **fields: str) -> None:
        """Show the step, its fields as JSON behind it."""
        self._console.print(printable(_with_fields(text, fields)), markup=False)

    def warn(self, text: str) -> None:
        """Show the warning."""
        self._console.print(f"warning: {printable(text)}", style="yellow", markup=False)

    @contextmanager
    def transfer(self, label: str, total: int) -> Iterator[Advance]:
        """Show a bar."""
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(label, total=total)
            yield lambda count: bars.advance(task, count)


def make_reporter(style: ProgressStyle, stream: IO[str] | None = None) -> Reporter:
    """Return the reporter of `style` that writes to `stream` (default: standard error)."""
    stream = stream or sys.stderr
    match style:
        case ProgressStyle.AUTO:
            return RichReporter(stream) if stream.isatty() else PlainReporter(stream)
        case ProgressStyle.RICH:
            return RichReporter(stream)
        case ProgressStyle.PLAIN:
            return PlainReporter(stream)
        case ProgressStyle.JSON:
            return JsonReporter(stream)
        case ProgressStyle.NONE:
            return NullReporter(stream)
