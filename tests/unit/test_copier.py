from __future__ import annotations

import errno
import gzip
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from imager.content import copier
from imager.content.compression import MAGIC, StreamReader
from imager.content.copier import ALL_METHODS, CopyMethod, write_content
from imager.content.extents import Codec, Content, Data, Extent, FileRange, StreamRange
from imager.content.reading import Sources, iterate_bytes, iterate_content
from imager.support.errors import HostError, InputError, OutputError
from imager.support.units import MIB
from tests.lib.tools.support import largest_file, open_files

KIB = 1 << 10
BLOCK = 64 * KIB
PLAIN = random.Random("plain").randbytes(3 * BLOCK + 123)
STREAM = random.Random("stream").randbytes(5 * KIB) * 100


def ignore(_count: int) -> None:
    return None


def written(
    content: Content, path: Path, *, methods: Sequence[CopyMethod] = ALL_METHODS
) -> tuple[bytes, int]:
    """Write the content; return its bytes and the sum of the progress."""
    done: list[int] = []
    with path.open("w+b") as file:
        write_content(content, file.fileno(), progress=done.append, methods=methods)
    return path.read_bytes(), sum(done)


@pytest.fixture(name="plain")
def plain_file(tmp_path: Path) -> Path:
    path = tmp_path / "plain"
    path.write_bytes(PLAIN)
    return path


@pytest.fixture(name="streams")
def stream_files(tmp_path: Path) -> dict[Codec, Path]:
    paths = {codec: tmp_path / codec.value for codec in MAGIC}
    paths[Codec.GZIP].write_bytes(gzip.compress(STREAM, mtime=0))
    paths[Codec.ZSTD].write_bytes(zstandard.compress(STREAM))
    return paths


@pytest.fixture(name="small_chunks")
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copier, "_KERNEL_CHUNK", 4096)
    monkeypatch.setattr(copier, "_USER_CHUNK", 4096)


def mixed(plain: Path) -> tuple[Content, bytes]:
    """Return a content with memory, file ranges in both orders and gaps, and its bytes."""
    extents = (
        Extent(10, 5, Data(b"..hello", 2)),
        Extent(15, 2 * BLOCK, FileRange(plain, 777)),
        Extent(4 * BLOCK, 100, FileRange(plain, 3)),
        Extent(4 * BLOCK + 100, len(PLAIN), FileRange(plain)),
    )
    content = Content(10 * BLOCK, extents)
    model = bytearray(content.size)
    model[10:15] = b"hello"
    model[15 : 15 + 2 * BLOCK] = PLAIN[777 : 777 + 2 * BLOCK]
    model[4 * BLOCK : 4 * BLOCK + 100] = PLAIN[3:103]
    model[4 * BLOCK + 100 : 4 * BLOCK + 100 + len(PLAIN)] = PLAIN
    return content, bytes(model)


@pytest.mark.parametrize("method", CopyMethod)
def test_every_method_gives_the_same_bytes(plain: Path, tmp_path: Path, method: CopyMethod) -> None:
    content, model = mixed(plain)
    data, progress = written(content, tmp_path / "out", methods=[method])
    assert data == model
    assert progress == content.data_size


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("method", CopyMethod)
def test_every_method_goes_on_after_a_chunk(
    plain: Path, tmp_path: Path, method: CopyMethod
) -> None:
    content, model = mixed(plain)
    assert written(content, tmp_path / "out", methods=[method]) == (model, content.data_size)


@pytest.mark.parametrize(
    "number", [errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM]
)
def test_what_the_kernel_cannot_do_falls_back_in_order(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    tried: list[str] = []

    def refuse(name: str) -> Callable[..., int]:
        def call(*_: object) -> int:
            if name not in tried:
                tried.append(name)
            raise OSError(number, os.strerror(number))

        return call

    monkeypatch.setattr(os, "copy_file_range", refuse("copy_file_range"))
    content, model = Content.of_file(plain), plain.read_bytes()
    assert written(content, tmp_path / "one", methods=ALL_METHODS) == (model, content.data_size)
    monkeypatch.setattr(os, "sendfile", refuse("sendfile"))
    assert written(content, tmp_path / "two", methods=ALL_METHODS) == (model, content.data_size)
    assert tried == ["copy_file_range", "sendfile"]


@pytest.mark.usefixtures("small_chunks")
def test_a_method_that_fails_half_way_is_continued_by_the_next(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, calls = os.copy_file_range, 0

    def twice(*arguments: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise OSError(errno.EXDEV, "not here")
        return copy(*arguments)

    monkeypatch.setattr(os, "copy_file_range", twice)
    content, model = Content.of_file(plain), plain.read_bytes()
    assert written(content, tmp_path / "out") == (model, content.data_size)
    assert calls == 3


@pytest.mark.parametrize("offset", [1, 512, 2048, 4095])
def test_what_changes_its_place_in_a_page_is_read_and_written(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    def never(*_: object) -> int:
        raise AssertionError

    monkeypatch.setattr(os, "copy_file_range", never)
    monkeypatch.setattr(os, "sendfile", never)
    content = Content.of_file(plain).slice(offset, 5000)
    model = plain.read_bytes()[offset : offset + 5000]
    assert written(content, tmp_path / "out") == (model, 5000)


def test_an_io_error_is_no_reason_to_fall_back(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "copy_file_range", fail)
    with pytest.raises(OutputError, match="copying failed"):
        written(Content.of_file(plain), tmp_path / "out")


def _data_map(path: Path) -> list[tuple[int, int]]:
    found, position, size = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while position < size:
            try:
                start = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, position - start))
    return found


def sparse_file(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(64 * BLOCK)
        for block in (3, 4, 40):
            file.seek(block * BLOCK)
            file.write(PLAIN[:BLOCK])
    return path


@pytest.mark.parametrize("method", CopyMethod)
def test_holes_stay_holes(tmp_path: Path, method: CopyMethod) -> None:
    source = sparse_file(tmp_path / "sparse")
    content = Content.compose(80 * BLOCK, [(8 * BLOCK, Content.of_file(source))])
    data, progress = written(content, tmp_path / "out", methods=[method])
    assert data == bytes(8 * BLOCK) + source.read_bytes() + bytes(8 * BLOCK)
    assert progress == 64 * BLOCK
    here = [(start + 8 * BLOCK, length) for start, length in _data_map(source)]
    assert here == [(11 * BLOCK, 2 * BLOCK), (48 * BLOCK, BLOCK)]
    assert _data_map(tmp_path / "out") == here


def test_holes_are_told_as_lengths(tmp_path: Path) -> None:
    source = sparse_file(tmp_path / "sparse")
    content = Content.compose(70 * BLOCK, [(BLOCK, Content.of_file(source))])
    pieces = list(iterate_content(content, chunk=BLOCK))
    holes = [piece // BLOCK for piece in pieces if isinstance(piece, int)]
    assert holes == [1, 3, 35, 23, 5]
    assert sum(isinstance(piece, bytes) for piece in pieces) == 3


def joined(pieces: Iterator[bytes | int]) -> bytes:
    return b"".join(bytes(p) if isinstance(p, int) else p for p in pieces)


def stream_content(streams: dict[Codec, Path], order: Sequence[int]) -> tuple[Content, bytes]:
    """Return four ranges of each stream, with gaps, in the order of `order`."""
    extents: list[Extent] = []
    model = b""
    for codec, path in streams.items():
        for part in order:
            offset, length = part * 100_000 + 7, 50_001
            extents.append(Extent(len(model) + 3, length, StreamRange(path, codec, offset)))
            model += bytes(3) + STREAM[offset : offset + length]
    return Content(len(model), tuple(extents)), model


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (1, 1)])
def test_streams_in_any_order(
    streams: dict[Codec, Path], tmp_path: Path, order: Sequence[int]
) -> None:
    content, model = stream_content(streams, order)
    assert written(content, tmp_path / "out") == (model, content.data_size)
    assert joined(iterate_content(content)) == model


@pytest.mark.parametrize("hole", [1, MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_holes_as_zeros_are_bounded(hole: int) -> None:
    content = Content.compose(hole + 2, [(hole, Content.of_bytes(b"ab"))])
    pieces = list(iterate_bytes(content))
    assert b"".join(pieces) == bytes(hole) + b"ab"
    assert max(map(len, pieces)) <= MIB


def test_a_stream_is_decompressed_once_when_written(
    streams: dict[Codec, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[StreamReader] = []
    start = StreamReader._decoder

    def counting(self: StreamReader) -> Any:
        started.append(self)
        return start(self)

    monkeypatch.setattr(StreamReader, "_decoder", counting)
    written(stream_content(streams, (3, 1, 0, 2))[0], tmp_path / "out")
    assert len(started) == len(streams)


def test_iterating_gives_what_is_written(
    plain: Path, streams: dict[Codec, Path], tmp_path: Path
) -> None:
    whole = Content.concat([mixed(plain)[0], stream_content(streams, (2, 0))[0], Content(99)])
    data, _ = written(whole, tmp_path / "out")
    assert joined(iterate_content(whole)) == joined(iterate_content(whole, chunk=1000)) == data


@pytest.mark.parametrize("codec", MAGIC)
def test_a_stream_shorter_than_planned(
    streams: dict[Codec, Path], tmp_path: Path, codec: Codec
) -> None:
    for offset in (len(STREAM) - 5, len(STREAM) + 5):
        content = Content.of_source(StreamRange(streams[codec], codec, offset), 10)
        with pytest.raises(InputError):
            written(content, tmp_path / "out")
        with pytest.raises(InputError):
            joined(iterate_content(content))


@pytest.mark.parametrize("method", CopyMethod)
def test_a_source_shorter_than_planned(plain: Path, tmp_path: Path, method: CopyMethod) -> None:
    content = Content.of_file(plain)
    os.truncate(plain, len(PLAIN) - 1)
    with pytest.raises(InputError, match="plain is shorter than it was"):
        written(content, tmp_path / "out", methods=[method])
    with pytest.raises(InputError, match="plain is shorter than it was"):
        joined(iterate_content(content))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("methods", [ALL_METHODS, *([method] for method in CopyMethod)])
def test_a_source_that_shrinks_during_the_copy(
    plain: Path, tmp_path: Path, methods: Sequence[CopyMethod]
) -> None:
    def shrink(_count: int) -> None:
        os.truncate(plain, BLOCK)

    with (tmp_path / "out").open("wb") as file, pytest.raises(InputError, match="shorter"):
        write_content(Content.of_file(plain), file.fileno(), progress=shrink, methods=methods)


def test_a_source_that_is_gone(plain: Path, tmp_path: Path) -> None:
    content = Content.of_file(plain)
    plain.unlink()
    with pytest.raises(OutputError, match=r"cannot read .*plain: No such file"):
        written(content, tmp_path / "out")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["copy_file_range", "pwrite"])
def test_a_full_disk(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    content = Content.concat([Content.of_file(plain), Content.of_bytes(b"abc")])
    with pytest.raises(HostError, match="no space left while writing") as caught:
        written(content, tmp_path / "out")
    assert "another folder" in caught.value.hint


def test_a_limit_on_file_sizes(plain: Path, tmp_path: Path) -> None:
    expected = pytest.raises(HostError, match="exceeds the largest file size")
    with (tmp_path / "out").open("wb") as file, largest_file(1 << 20), expected:
        write_content(Content((1 << 20) + 1), file.fileno(), progress=ignore)


def test_progress_may_stop_the_copy(plain: Path, tmp_path: Path) -> None:
    def stop(_count: int) -> None:
        raise InputError("stop")

    with (tmp_path / "out").open("wb") as file, pytest.raises(InputError, match="stop"):
        write_content(mixed(plain)[0], file.fileno(), progress=stop)


def test_descriptors_are_closed(plain: Path, tmp_path: Path) -> None:
    written(mixed(plain)[0], tmp_path / "out")
    joined(iterate_content(mixed(plain)[0]))
    with pytest.raises(InputError):
        written(Content.of_source(FileRange(plain, len(PLAIN)), 1), tmp_path / "out")
    assert open_files(tmp_path) == 0


def test_a_source_is_closed_once_when_a_signal_ends_the_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(BaseException):
        pass

    def close(descriptor: int) -> None:
        really_close(descriptor)
        if not closed:
            closed.append(descriptor)
            raise StopError

    for name in "ab":
        (tmp_path / name).touch()
    closed: list[int] = []
    really_close = os.close
    monkeypatch.setattr(os, "close", close)
    with pytest.raises(StopError), Sources() as sources:
        sources.open(tmp_path / "a")
        sources.open(tmp_path / "b")
