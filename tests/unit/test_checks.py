from __future__ import annotations

import hashlib
import os
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from imager.content import digests as module
from imager.content.compression import MAGIC, StreamReader
from imager.content.digests import (
    Check,
    checking,
    failed_checks,
    run_checks,
)
from imager.content.extents import Codec, Content, Extent, FileRange, StreamRange
from imager.support.errors import InputError, OutputError
from imager.support.workers import Cancel
from tests.lib.caches.caches import compress

DATA = random.Random("checks").randbytes(500_000)
# A layer, blobs inside it, adjoining and nested, and ones behind it.
SPANS = [
    *((0, 400_000), (512, 99_999), (99_999, 99_999), (99_999, 200_000), (150_000, 399_000)),
    *((150_000, 399_000), (399_000, 400_000), (400_000, 500_000), (450_000, 450_001)),
]


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
    content = Content.of_source(FileRange(path, start), end - start)
    return Check(name, content, hashlib.sha256(data).hexdigest())


def layer_and_blobs(path: Path) -> list[Check]:
    """Return checks of SPANS."""
    return [check(path, *span) for span in SPANS]


def test_checks_that_overlap_all_match(path: Path) -> None:
    run_checks(layer_and_blobs(path))
    run_checks(layer_and_blobs(path)[::-1])
    run_checks([])


def test_each_of_overlapping_checks_is_told_when_wrong(path: Path) -> None:
    good = layer_and_blobs(path)
    for place, (start, end) in enumerate(SPANS):
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
    preadv = os.preadv

    def counting(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal read
        count = preadv(descriptor, buffers, offset)
        read += count
        return count

    monkeypatch.setattr(os, "preadv", counting)
    run_checks(layer_and_blobs(path))
    assert read == len(DATA)


def test_a_cancelled_run_ends_without_a_word(path: Path) -> None:
    cancel = Cancel()
    cancel.set()
    run_checks([check(path, 0, 500_000, good=False)], cancel=cancel)


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
    started, preadv = threading.Event(), os.preadv

    def slow(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal calls
        calls += 1
        started.set()
        threading.Event().wait(0.005)
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", slow)
    wrong = [check(path, 0, 500_000, good=False)]
    with pytest.raises(OutputError, match="disk on fire"), checking(wrong):
        started.wait(5)
        raise OutputError("disk on fire")
    assert calls < len(DATA) // 4096


def test_all_that_fail_are_told_in_order(path: Path, tmp_path: Path) -> None:
    short, gone = tmp_path / "short", tmp_path / "gone"
    short.write_bytes(DATA[:100])
    checks = [
        check(path, 10, 20, what="b", good=False),
        check(path, 0, 1000, what="good"),
        check(path, 5, 15, what="a", good=False),
    ]
    for name, file, data in (("short", short, DATA[:200]), ("gone", gone, b"x")):
        content = Content.of_source(FileRange(file), len(data))
        checks.append(Check(name, content, hashlib.sha256(data).hexdigest()))
    for jobs in (1, 3):
        messages = [error.message for error in failed_checks(checks, jobs=jobs, progress=len_ok)]
        assert [message.split()[0] for message in messages[:2]] == ["a", "b"]
        assert "gone" in " ".join(messages[2:])
        assert "ends at byte 100, in short" in " ".join(messages[2:])
        assert len(messages) == 4


@pytest.mark.parametrize("codec", MAGIC)
def test_ranges_of_a_stream_are_checked_in_one_pass(
    tmp_path: Path, path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a compressed layer in the middle of an archive."""
    packed = compress(DATA, codec.value)
    stream = tmp_path / "stream"
    stream.write_bytes(b"before" + packed + b"behind")
    place = StreamRange(stream, codec, start=6, length=len(packed))
    checks = [
        replace(each, content=Content.of_source(replace(place, offset=start), end - start))
        for each, (start, end) in zip(layer_and_blobs(path), SPANS, strict=True)
    ]
    opened: list[StreamReader] = []
    made, seek = StreamReader.of, StreamReader.seek_forward

    def counting(source: StreamRange) -> StreamReader:
        opened.append(made(source))
        return opened[-1]

    def forwards(reader: StreamReader, offset: int) -> None:
        assert offset >= reader.tell()
        seek(reader, offset)

    monkeypatch.setattr(StreamReader, "of", counting)
    monkeypatch.setattr(StreamReader, "seek_forward", forwards)
    run_checks([*checks[::-1], *layer_and_blobs(path)])
    assert len(opened) == 1
    wrong = replace(checks[3], what="it", sha256="0" * 64)
    (failure,) = failed_checks([*checks, wrong], jobs=2, progress=len_ok)
    assert failure.message.startswith("it does not match its digest")
    stream.write_bytes(b"before" + packed[:-1000])
    with pytest.raises(InputError, match="is not a whole"):
        run_checks(checks)
    stream.unlink()
    with pytest.raises(OutputError, match=r"cannot read .*stream: No such file"):
        run_checks(checks)


def len_ok(count: int) -> None:
    assert count > 0


def test_progress_is_the_length_of_all_checks(path: Path) -> None:
    checks, done = layer_and_blobs(path), [0]

    def advance(count: int) -> None:
        done[0] += count

    assert failed_checks(checks, jobs=2, progress=advance) == ()
    assert done[0] == sum(each.content.size for each in checks)


def scattered(path: Path, *, what: str = "it", good: bool = True) -> Check:
    """Return the check of two pieces of the file, the later one first, with a hole between."""
    extents = (
        Extent(0, 9000, FileRange(path, 400_000)),
        Extent(10_000, 5000, FileRange(path, 100)),
    )
    data = DATA[400_000:409_000] + bytes(1000) + DATA[100:5100] + bytes(7)
    digest = hashlib.sha256(data if good else data[:-1]).hexdigest()
    return Check(what, Content(15_007, extents), digest)


def test_pieces_and_holes_are_hashed_as_one(path: Path) -> None:
    empty = Check("empty", Content(0), hashlib.sha256().hexdigest())
    run_checks([scattered(path), *layer_and_blobs(path), empty])
    with pytest.raises(InputError, match=r"^it does not match"):
        run_checks([*layer_and_blobs(path), scattered(path, good=False)])
    with checking([scattered(path)]):
        pass


def test_pieces_that_fail_are_told_with_the_others(path: Path) -> None:
    wrong = [scattered(path, what="one", good=False), scattered(path, what="two", good=False)]
    moved: list[int] = []
    checks: list[Check] = [*wrong, scattered(path), check(path, 0, 5, what="plain", good=False)]
    failures = failed_checks(checks, jobs=2, progress=moved.append)
    assert [failure.message.split()[0] for failure in failures] == ["plain", "one", "two"]
    assert sum(moved) == sum(each.content.size for each in checks)


def test_pieces_of_a_file_that_is_gone_or_short(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(402_000)
    with pytest.raises(InputError, match="shorter"):
        run_checks([scattered(path)])
    path.unlink()
    with pytest.raises(OutputError, match="cannot read"):
        run_checks([scattered(path)])
