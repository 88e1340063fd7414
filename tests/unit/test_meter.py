"""How far a transfer is: what was there before is no speed, and the line fits any terminal."""

from __future__ import annotations

import time

import pytest

from imager.support.meter import Kept, Meter, duration, log_line, shortened, terminal_line

MIB = 1 << 20


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_what_is_kept_is_no_speed(clock: Clock) -> None:
    meter = Meter(100 * MIB)
    clock.now += 3  # to hash what is there
    meter.advance(Kept(60 * MIB))
    assert (meter.done, meter.percent, meter.speed) == (60 * MIB, 60, 0.0)
    clock.now += 10
    meter.advance(10 * MIB)
    meter.advance(Kept(10 * MIB))
    assert meter.percent == 80
    assert meter.speed == pytest.approx(MIB)
    assert log_line("caching", meter) == "caching: 80 %, 80.0/100.0 MiB, 1.0 MiB/s, 20 s left"


@pytest.mark.parametrize(
    ("total", "done", "amounts"),
    [
        (5000 * MIB, 1, "0.0/5000.0 MiB"),
        (5000 * MIB, 1500 * MIB, "1500.0/5000.0 MiB"),
        (2048, 512, "0.5/2.0 KiB"),
        (10, 20, "0.0/0.0 KiB"),
        (0, 0, "0.0/0.0 KiB"),
    ],
)
def test_amounts_have_one_unit(total: int, done: int, amounts: str) -> None:
    meter = Meter(total)
    meter.advance(done)
    assert meter.amounts() == amounts
    assert meter.percent <= 100


def test_silence_is_told(clock: Clock) -> None:
    meter = Meter(MIB)
    meter.advance(MIB // 2)
    clock.now += 75
    assert meter.pace() == "stalled for 1 min 15 s"
    meter.advance(0)  # to look whether the run was stopped
    assert meter.pace() == "stalled for 1 min 15 s"
    meter.advance(MIB // 2)
    clock.now += 75
    assert meter.pace().endswith("KiB/s, 0 s left") or meter.pace().endswith("MiB/s, 0 s left")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7380, "2 h 3 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_for_each_width(clock: Clock) -> None:
    meter = Meter(4096 * MIB)
    clock.now += 10
    meter.advance(1024 * MIB)

    def line(width: int) -> str:
        found = terminal_line("writing metal-amd64.raw", meter, width, full="#", empty="-")
        assert len(found) <= width
        return found

    assert line(120) == (
        "writing metal-amd64.raw  #######-----------------------   25 %  1024.0/4096.0 MiB  "
        "102.4 MiB/s, 30 s left"
    )
    assert line(79) == "writing metal-amd64.raw   25 %  1024.0/4096.0 MiB  102.4 MiB/s, 30 s left"
    assert line(60) == "writing metal-amd64.raw   25 %  1024.0/4096.0 MiB"
    assert line(39) == "writing metal-amd64.raw   25 %"
    assert line(19) == "writing m...   25 %"
    for width in range(1, 140):
        line(width)


@pytest.mark.parametrize(
    ("width", "text"), [(9, "a longer."), (8, "a lon..."), (3, "..."), (2, ".."), (0, ""), (-1, "")]
)
def test_shortened(width: int, text: str) -> None:
    assert shortened("a longer.", width) == text
