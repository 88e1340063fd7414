"""Progress on a terminal: log lines with a live status line below."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from imager.support.meter import Meter, duration, shortened, terminal_line
from imager.support.screen import Tone, printable, uses_color, with_fields

_PER_SECOND = 10
_SPINNER, _ASCII_SPINNER = "\u280b\u2819\u2839\u2838\u283c\u2834\u2826\u2827\u2807\u280f", "|/-\\"
_BAR, _ASCII_BAR = "\u2501\u2500", "#-"
_WORTH_TELLING = 2.0  # seconds


class RichReporter:
    """Shows a spinner while waiting, and a bar for a transfer."""

    def __init__(self, stream: IO[str]) -> None:
        color = uses_color(stream)
        self._console = Console(
            file=stream, highlight=False, no_color=not color, force_terminal=color or None
        )
        self._shown = False
        self._unicode = (self._console.encoding or "").startswith("utf")

    def step(self, text: str, **fields: str) -> None:
        """Show the step, followed by its fields as JSON."""
        self._print(Text(printable(with_fields(text, fields))))

    def note(self, text: str, **fields: str | float) -> None:  # noqa: ARG002 - the text says them
        """Show the detail in a dim color."""
        self._print(Text(printable(text), style="dim"))

    def warn(self, *texts: str) -> None:
        """Show the warnings."""
        for text in texts:
            label = Text(f"{Tone.WARNING.value[0]}: ", style="bold yellow")
            self._print(label.append(printable(text), style="not bold default"))

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show a spinner and the elapsed time; print only the text at the end."""
        text = printable(text)
        frames = _SPINNER if self._unicode else _ASCII_SPINNER
        begun = time.monotonic()
        if self._shown:  # nested: a spinner is already active
            self.step(text)
            yield
            return

        def line(width: int) -> str:
            seconds = time.monotonic() - begun
            frame = frames[int(seconds * _PER_SECOND) % len(frames)]
            past = f"  {duration(seconds)}" if seconds >= _WORTH_TELLING else ""
            return f"{frame} {shortened(text, width - 2 - len(past))}{past}"

        with self._live(line):
            yield
        self.step(text)

    @contextmanager
    def transfer(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar."""
        meter, shown = Meter(total), printable(label)
        full, empty = tuple(_BAR if self._unicode else _ASCII_BAR)
        with self._live(lambda width: terminal_line(shown, meter, width, full=full, empty=empty)):
            yield meter.advance

    @contextmanager
    def _live(self, line: Callable[[int], str]) -> Iterator[None]:
        """Show a live line below the output, redrawn ten times a second; `line` takes the width."""

        def render() -> Text:
            return Text(line(self._console.width - 1), no_wrap=True, overflow="crop")

        live = Live(
            get_renderable=render,
            console=self._console,
            refresh_per_second=_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._shown = True
        try:
            with live:
                yield
        finally:
            self._shown = False

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
