from __future__ import annotations

import hashlib
import os
import random
import threading
from pathlib import Path

import pytest

from imager import checks as module
from imager.checks import Check, checking, run_checks
from imager.errors import InputError, OutputError
from imager.extents import FileRange

DATA = random.Random("checks").randbytes(500_000)


@pytest.fixture(name="path")
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 4096)


def check(path: Path, start: int, end: int, *, what: str = "", good: bool = True) -> Check:
    data = DATA[start:end] if good else DATA[start:end] + b"!"
    name = what or f"bytes {start} to {end}"
    return Check(name, FileRange(path, start), end - start, hashlib.sha256(data).hexdigest())


def layer_and_blobs(path: Path) -> list[Check]:
    """Return a layer, blobs inside it, adjoining and nested, and ones behind it."""
    spans = [(0, 400_000), (512, 99_999), (99_999, 99_999), (99_999, 200_000), (150_000, 399_000)]
    spans += [(150_000, 399_000), (399_000, 400_000), (400_000, 500_000), (450_000, 450_001)]
    return [check(path, *span) for span in spans]


def test_checks_that_overlap_all_match(path: Path) -> None:
    run_checks(layer_and_blobs(path))
    run_checks(layer_and_blobs(path)[::-1])
    run_checks([])


def test_each_of_overlapping_checks_is_told_when_wrong(path: Path) -> None:
    good = layer_and_blobs(path)
    for place, each in enumerate(good):
        start, end = each.source.offset, each.end
        wrong = [*good[:place], check(path, start, end, what="it", good=False), *good[place + 1 :]]
        with pytest.raises(InputError, match=r"^it does not match its digest sha256:") as caught:
            run_checks(wrong)
        assert "copy or make it again" in caught.value.hint


def test_one_flipped_bit_is_found(path: Path) -> None:
    damaged = bytearray(DATA)
    damaged[300_000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="does not match"):
        run_checks([check(path, 299_000, 301_000)])
    run_checks([check(path, 0, 300_000), check(path, 300_001, 500_000)])


@pytest.mark.parametrize("offset", [0, 1000, 500_000])
def test_nothing_has_the_digest_of_nothing(path: Path, offset: int) -> None:
    run_checks([check(path, offset, offset)])
    with pytest.raises(InputError, match="does not match"):
        run_checks([check(path, offset, offset, good=False)])


def test_a_truncated_file_is_told_with_the_byte(path: Path) -> None:
    os.truncate(path, 123_456)
    with pytest.raises(InputError, match=r"data ends at byte 123456, in the blob") as caught:
        run_checks([check(path, 0, 100_000), check(path, 100_000, 200_000, what="the blob")])
    assert "truncated" in caught.value.hint


def test_a_file_that_is_gone(path: Path) -> None:
    path.unlink()
    with pytest.raises(OutputError, match=r"cannot read .*data: No such file"):
        run_checks([check(path, 0, 10)])


def test_every_file_is_read(tmp_path: Path, path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(InputError, match="the other"):
        run_checks([check(path, 0, 500_000), check(other, 0, 500_000, what="the other")])


def test_each_byte_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    pread = os.pread

    def counting(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal read
        data = pread(descriptor, size, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    run_checks(layer_and_blobs(path))
    assert read == len(DATA)


def test_a_cancelled_run_ends_without_a_word(path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    run_checks([check(path, 0, 500_000, good=False)], cancelled=cancelled)


def test_the_block_goes_on_beside_the_checks_and_ends_after_them(path: Path) -> None:
    with checking(layer_and_blobs(path)) as raise_failed:
        raise_failed()


def test_the_end_of_the_block_raises(path: Path) -> None:
    wrong = [check(path, 0, 500_000, good=False)]
    with pytest.raises(InputError, match="does not match"), checking(wrong):
        pass


def test_the_block_can_ask_and_stop_early(path: Path) -> None:
    finished = False
    wrong = [check(path, 0, 10, good=False)]
    with pytest.raises(InputError, match="does not match"), checking(wrong) as raise_failed:
        for _ in range(1000):
            raise_failed()
            threading.Event().wait(0.01)
        finished = True
    assert not finished


def test_a_failed_block_stops_the_checks_and_keeps_its_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    started, pread = threading.Event(), os.pread

    def slow(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal calls
        calls += 1
        started.set()
        threading.Event().wait(0.005)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", slow)
    wrong = [check(path, 0, 500_000, good=False)]
    with pytest.raises(OutputError, match="disk on fire"), checking(wrong):
        started.wait(5)
        raise OutputError("disk on fire")
    assert calls < len(DATA) // 4096
