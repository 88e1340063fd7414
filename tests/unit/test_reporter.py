from __future__ import annotations

import io
import json
import re
import sys
import time

import pytest

from imager.oci.tracing import log_request, log_retry
from imager.support.reporter import (
    JsonReporter,
    NullReporter,
    PlainReporter,
    ProgressStyle,
    make_reporter,
    report_log,
)
from imager.support.screen import Tone, labelled
from imager.support.terminal import RichReporter


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def said(self) -> str:
        """What was written, without control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.getvalue())


@pytest.fixture(autouse=True)
def _a_terminal_in_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from an environment that says nothing but what the terminal is."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CI", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


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


@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "dumb"), ("TERM", None), ("TERM", "unknown"), ("CI", "true")]
)
def test_what_takes_lines_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    assert type(make_reporter(ProgressStyle.AUTO, _Terminal())) is PlainReporter


@pytest.mark.parametrize(
    ("stream", "changes", "colored"),
    [
        (_Terminal(), {}, True),
        (_Terminal(), {"NO_COLOR": "1"}, False),
        (_Terminal(), {"NO_COLOR": ""}, True),
        (_Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colors(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, changes: dict[str, str], colored: bool
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    found = labelled(Tone.ERROR, "no\x1b[2J", stream)
    label = "\033[1;31merror:\033[0m" if colored else "error:"
    assert found == f"{label} no\N{REPLACEMENT CHARACTER}[2J"
    monkeypatch.setattr(sys, "argv", ["imager", "iso", "--no-color"])
    assert labelled(Tone.ERROR, "no", stream) == "error: no"


@pytest.mark.parametrize("style", ProgressStyle)
def test_waiting_says_for_what(style: ProgressStyle) -> None:
    stream = io.StringIO()
    with make_reporter(style, stream).waiting("reading [lists]"):
        pass
    assert ("reading [lists]" in stream.getvalue()) is (style is not ProgressStyle.NONE)


def test_a_spinner_turns_below_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = _Terminal()
    reporter = RichReporter(stream)
    with reporter.waiting("reading the manifests of 12 images"):
        reporter.note("https://example.com/v2/: HTTP 503; trying again in 2.0 s")
        with reporter.waiting("another wait"):
            deadline = time.monotonic() + 60
            while len(set(re.findall(r"(.) reading the ma\.\.\.", stream.said))) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    said = stream.said
    assert "HTTP 503; trying again in 2.0 s" in said
    assert said.rstrip().endswith("reading the manifests of 12 images")
    assert stream.getvalue().rstrip().rpartition("\x1b[?25h")[1], "the cursor is back"


def test_retries_and_requests_are_told() -> None:
    stream = io.StringIO()
    report_log(PlainReporter(stream), verbose=False)
    log_retry("https://x/: HTTP 503", 2.0)
    log_request("GET", "https://user:secret@x/v2/?signature=secret", 200, 0.1234)
    assert stream.getvalue() == "https://x/: HTTP 503; trying again in 2.0 s\n"
    report_log(JsonReporter(stream), verbose=True)
    log_request("GET", "https://user:secret@x/v2/?signature=secret", 200, 0.1234)
    log_request("HEAD", "http://y/", "Connection refused", 0.1)
    log_retry("http://y/: Connection refused", 0)
    events = [json.loads(line) for line in stream.getvalue().splitlines()[1:]]
    assert events == [
        {
            "event": "note",
            "text": "GET https://x/v2/?...: HTTP 200, 0.12 s",
            "method": "GET",
            "url": "https://x/v2/?...",
            "outcome": 200,
            "seconds": 0.123,
        },
        {
            "event": "note",
            "text": "HEAD http://y/: Connection refused, 0.10 s",
            "method": "HEAD",
            "url": "http://y/",
            "outcome": "Connection refused",
            "seconds": 0.1,
        },
        {
            "event": "note",
            "text": "http://y/: Connection refused; trying again now",
            "reason": "http://y/: Connection refused",
            "pause": 0,
        },
    ]
    report_log(NullReporter(stream), verbose=True)
    before = stream.getvalue()
    log_retry("http://y/: Connection refused", 0)
    assert stream.getvalue() == before


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
        "copy: 50 %, 2048.0/4096.0 MiB, 409.6 MiB/s, 5 s left",
        "copy: 100 %, 4096.0/4096.0 MiB, 409.6 MiB/s, 0 s left",
    ]


def test_plain_survives_an_empty_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with PlainReporter(stream).transfer("copy", 0) as advance:
        now[0] += 60
        advance(0)
    assert stream.getvalue() == "copy: 100 %, 0.0/0.0 KiB\n"


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
