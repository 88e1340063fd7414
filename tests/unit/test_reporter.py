from __future__ import annotations

import io
import json
import sys
import time

import pytest

from imager.reporter import (
    JsonReporter,
    NullReporter,
    PlainReporter,
    ProgressStyle,
    make_reporter,
)
from imager.terminal import RichReporter


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("style", "stream", "kind"),
    [
        (ProgressStyle.AUTO, io.StringIO(), PlainReporter),
        (ProgressStyle.AUTO, _Terminal(), RichReporter),
        (ProgressStyle.RICH, io.StringIO(), RichReporter),
        (ProgressStyle.PLAIN, _Terminal(), PlainReporter),
        (ProgressStyle.JSON, io.StringIO(), JsonReporter),
        (ProgressStyle.NONE, io.StringIO(), NullReporter),
    ],
)
def test_each_style_has_its_reporter(
    style: ProgressStyle, stream: io.StringIO, kind: type[object]
) -> None:
    assert type(make_reporter(style, stream)) is kind


def test_the_default_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    make_reporter(ProgressStyle.PLAIN, sys.stderr).step("hello")
    make_reporter(ProgressStyle.PLAIN).step("again")
    said = capsys.readouterr()
    assert said.err == "hello\nagain\n"
    assert said.out == ""


def test_quiet_says_warnings_alone() -> None:
    stream = io.StringIO()
    reporter = NullReporter(stream)
    reporter.step("step")
    with reporter.transfer("copy", 10) as advance:
        advance(10)
    reporter.warn("mind the gap")
    assert stream.getvalue() == "warning: mind the gap\n"


def test_plain_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with PlainReporter(stream).transfer("copy", 4 << 30) as advance:
        for _ in range(4):
            now[0] += 2.5
            advance(1 << 30)
    assert stream.getvalue().splitlines() == [
        "copy: 50 % of 4 GiB, 409.6 MiB/s, 5 s left",
        "copy: 100 % of 4 GiB, 409.6 MiB/s, 0 s left",
    ]


def test_plain_survives_an_empty_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with PlainReporter(stream).transfer("copy", 0) as advance:
        now[0] += 60
        advance(0)
    assert "100 % of 0 B" in stream.getvalue()


def test_json_is_an_object_a_line() -> None:
    stream = io.StringIO()
    reporter = JsonReporter(stream)
    reporter.step('with "quotes"\nand lines')
    reporter.warn("careful")
    with reporter.transfer("copy", 10) as advance:
        advance(4)
        advance(6)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert events[:2] == [
        {"event": "step", "text": 'with "quotes"\nand lines'},
        {"event": "warning", "text": "careful"},
    ]
    assert events[2] == {"event": "progress", "label": "copy", "done": 0, "total": 10}
    assert events[-1] == {"event": "progress", "label": "copy", "done": 10, "total": 10}


def test_rich_does_not_take_text_for_markup() -> None:
    stream = io.StringIO()
    reporter = RichReporter(stream)
    reporter.step("opening [red]cache[/red]")
    reporter.warn("[bold]odd")
    with reporter.transfer("writing [x]", 10) as advance:
        advance(10)
    assert "opening [red]cache[/red]" in stream.getvalue()
    assert "warning: [bold]odd" in stream.getvalue()


@pytest.mark.parametrize(
    ("style", "line"),
    [
        (ProgressStyle.PLAIN, 'copying {"source": "/a", "target": "/b"}\n'),
        (ProgressStyle.RICH, 'copying {"source": "/a", "target": "/b"}\n'),
        (
            ProgressStyle.JSON,
            '{"event": "step", "text": "copying", "source": "/a", "target": "/b"}\n',
        ),
        (ProgressStyle.NONE, ""),
    ],
)
def test_a_step_says_of_what_it_is(style: ProgressStyle, line: str) -> None:
    stream = io.StringIO()
    make_reporter(style, stream).step("copying", source="/a", target="/b")
    assert stream.getvalue() == line
