"""Flushes in the background: begun in time, and their errors told."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from imager.content.writeback import flushing
from imager.support.errors import OutputError
from tests.lib.tools.support import open_files

ENOUGH = 128 << 20


@pytest.fixture
def pipe() -> Iterator[int]:
    """Yield a descriptor that cannot be flushed (fdatasync(2): EINVAL for a pipe)."""
    with ExitStack() as stack:
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        yield writer


def test_a_flush_that_fails_is_told(pipe: int) -> None:
    with pytest.raises(OutputError, match="Invalid argument"), flushing() as flusher:
        flusher.wrote(pipe, ENOUGH)


def test_an_earlier_failure_is_told(pipe: int, tmp_path: Path) -> None:
    with (
        (tmp_path / "file").open("wb") as file,
        pytest.raises(OutputError, match="Invalid argument"),
        flushing() as flusher,
    ):
        flusher.flush(pipe)
        flusher.flush(file.fileno())


def test_a_failure_is_told_by_a_later_write(pipe: int, tmp_path: Path) -> None:
    """By the next flush, however many there are."""
    with (
        (tmp_path / "file").open("wb") as file,
        pytest.raises(OutputError, match="Invalid argument"),
        flushing() as flusher,
    ):
        flusher.wrote(pipe, ENOUGH)
        for _ in range(3):
            flusher.wrote(file.fileno(), ENOUGH)
            time.sleep(0.05)


def test_little_is_left_to_the_end(pipe: int) -> None:
    with flushing() as flusher:
        for _ in range(127):
            flusher.wrote(pipe, 1 << 20)


def test_what_all_files_got_counts_together(pipe: int, tmp_path: Path) -> None:
    with (
        (tmp_path / "file").open("wb") as file,
        pytest.raises(OutputError, match="Invalid argument"),
        flushing() as flusher,
    ):
        flusher.wrote(pipe, ENOUGH - 1)
        flusher.wrote(file.fileno(), 1)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    with flushing() as flusher:
        for number in range(20):
            with (tmp_path / str(number)).open("wb") as file:
                flusher.wrote(file.fileno(), 1 << 24)
    assert open_files(tmp_path) == 0
