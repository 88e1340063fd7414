"""The progress of a transfer: bytes, speed, and a status line for any terminal width.

All sizes of one transfer use the unit of its total, so that they are easy to compare.
"""

from __future__ import annotations

import time

from imager.support.units import KIB, MIB

_SILENT = 5.0  # report a stall after this many seconds without data
_BAR = range(10, 31)  # columns
_ELLIPSIS = 3


class Kept(int):
    """A number of bytes that existed before the run: they count as done, but not for the speed."""


class Meter:
    """A counter for a transfer of `total` bytes."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._new = 0
        self._begun = self._last = time.monotonic()

    def advance(self, count: int) -> None:
        """Add `count` bytes; `Kept` bytes do not count for the speed."""
        now = time.monotonic()
        if not isinstance(count, Kept):
            # Exclude the time spent on checking kept bytes.
            self._begun = self._begun if self._new else self._last
            self._new += count
        self.done += count
        if count:
            self._last = now

    @property
    def percent(self) -> int:
        """The percentage done; 100 for an empty transfer."""
        return min(100 * self.done // self.total, 100) if self.total else 100

    @property
    def speed(self) -> float:
        """The speed in new bytes per second."""
        return self._new / max(time.monotonic() - self._begun, 1e-6) if self._new else 0.0

    def amounts(self) -> str:
        """Return done and total bytes, such as `1.5/4096.0 MiB`."""
        unit, name = self._unit
        return f"{min(self.done, self.total) / unit:.1f}/{self.total / unit:.1f} {name}"

    def pace(self) -> str:
        """Return the speed and the remaining time, or how long the transfer has stalled."""
        silent = time.monotonic() - self._last
        if silent >= _SILENT and self.done < self.total:
            return f"stalled for {duration(silent)}"
        if not self.speed:
            return ""
        unit, name = self._unit
        left = max(self.total - self.done, 0) / self.speed
        return f"{self.speed / unit:.1f} {name}/s, {duration(left)} left"

    @property
    def _unit(self) -> tuple[int, str]:
        return (MIB, "MiB") if self.total >= MIB else (KIB, "KiB")


def duration(seconds: float) -> str:
    """Format `seconds` for a person: `5 s`, `2 min 5 s`, `3 h 2 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def log_line(label: str, meter: Meter) -> str:
    """Return the progress as a line for a log."""
    parts = [f"{label}: {meter.percent} %", meter.amounts(), meter.pace()]
    return ", ".join(filter(None, parts))


def terminal_line(label: str, meter: Meter, width: int, *, full: str, empty: str) -> str:
    """Return the progress in at most `width` columns, with a bar of `full`/`empty` if it fits."""
    percent = f"{meter.percent:3} %"
    short = f"{percent}  {meter.amounts()}"
    pace = meter.pace()
    tails = (f"{short}  {pace}", short) if pace else (short,)
    tail = next((tail for tail in tails if len(label) + 2 + len(tail) <= width), percent)
    room = width - len(label) - len(tail) - 4
    if room >= _BAR.start:
        length = min(room, _BAR.stop - 1)
        done = length * meter.percent // 100
        return f"{label}  {full * done}{empty * (length - done)}  {tail}"
    return f"{shortened(label, width - 2 - len(tail))}  {tail}"[:width]


def shortened(text: str, width: int) -> str:
    """Return `text` shortened to at most `width` columns."""
    if len(text) <= width:
        return text
    return f"{text[: max(width - _ELLIPSIS, 0)]}..."[: max(width, 0)]
