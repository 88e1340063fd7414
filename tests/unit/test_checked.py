"""Writing and checking in one pass: what is hashed is what is written."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from imager.content import checked as module
from imager.content.checked import write_checked
from imager.content.compression import StreamReader
from imager.content.digests import Check
from imager.content.extents import Codec, Content, Extent, FileRange, Source, StreamRange
from imager.support.errors import HostError, InputError
from tests.lib.tools.support import open_files
from tests.lib.volumes.disk_images import Sources, SparseDisk, sparse_disks

PIECE = 5000


@pytest.fixture(scope="module", name="sources")
def source_files(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources.make(tmp_path_factory.mktemp("sources"))


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    """Let even short extents be several pieces, and the hash of a stream wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", PIECE)
        patch.setattr(module, "_BATCH", PIECE)
        patch.setattr(module, "_MOST_WAITING", 2)
        patch.setattr(module, "_MOST_HASHED_LATER", 2)
        yield


def source(sources: Sources, kind: str, start: int) -> Source:
    return sources.extent(kind, 0, start, 1).source


def check(sources: Sources, kind: str, start: int, length: int, *, good: bool = True) -> Check:
    digest = hashlib.sha256(sources.data[start : start + length] + (b"" if good else b"!"))
    content = Content.of_source(source(sources, kind, start), length)
    return Check(f"bytes from {start}", content, digest.hexdigest())


def written(content: Content, checks: list[Check], path: Path) -> tuple[bytes, int]:
    """Write `content` to a new file; return its bytes and the sum of the progress."""
    done: list[int] = []
    with path.open("wb") as file:
        file.truncate(content.size)
        write_checked(content, file.fileno(), checks, progress=done.append)
    return path.read_bytes(), sum(done)


# To shrink what fails takes a minute.
@settings(phases=[Phase.generate])
@given(data=st.data())
def test_all_is_written_and_all_is_checked(
    sources: Sources, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whether checks are of what is written, of parts of it, of several extents, or of others."""
    disk: SparseDisk = data.draw(sparse_disks(sources))
    path = tmp_path_factory.getbasetemp() / "checked"
    checks = [
        Check(f"extent {number}", content, hashlib.sha256(read(disk.data, extent)).hexdigest())
        for number, extent in enumerate(disk.content.extents)
        if data.draw(st.booleans())
        for content in [Content.of_source(extent.source, extent.length)]
    ]
    start, length = data.draw(st.integers(0, 1 << 20)), data.draw(st.integers(0, 1 << 16))
    length = min(length, len(sources.data) - start)
    checks.append(check(sources, data.draw(st.sampled_from(["file", "stream"])), start, length))
    assert written(disk.content, checks, path) == (disk.data, disk.content.data_size)
    assert open_files(path.parent) == 0
    wrong = data.draw(st.integers(0, len(checks) - 1))
    checks[wrong] = replace(checks[wrong], sha256="0" * 64)
    with pytest.raises(InputError, match=f"^{checks[wrong].what} does not match its digest"):
        written(disk.content, checks, path)
    assert not [each.name for each in threading.enumerate() if each.name.startswith("copy")]


def read(data: bytes, extent: Extent) -> bytes:
    return data[extent.offset : extent.end]


def scattered(sources: Sources, kind: str, starts: list[int], length: int) -> Content:
    """Return extents of `length` bytes, apart from each other, in the reverse order."""
    return Content.compose(
        len(starts) * 2 * length,
        [
            (2 * length * (len(starts) - 1 - number), Content.of_source(found, length))
            for number, start in enumerate(starts)
            for found in [source(sources, kind, start)]
        ],
    )


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_each_byte_of_a_source_is_read_once(
    sources: Sources, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a blob is in several extents, in another order than in its source."""
    content = scattered(sources, kind, [0, 20_000, 40_000, 60_000], 20_000)
    checks = [check(sources, kind, 0, 60_000), check(sources, kind, 60_000, 20_000)]
    count = Reads(monkeypatch)
    data, progress = written(content, checks, tmp_path / "out")
    assert data[-40_000:-20_000] == sources.data[:20_000]
    assert count.files == (80_000 if kind == "file" else 0)
    assert count.streams == (1 if kind == "stream" else 0)
    assert progress == 80_000
    for number in range(2):
        wrong = [
            replace(each, sha256="0" * 64) if each is checks[number] else each for each in checks
        ]
        with pytest.raises(InputError, match=f"bytes from {60_000 * number} does not match"):
            written(content, wrong, tmp_path / "out")


class Reads:
    """Bytes of files that are read, and streams that are opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = self.streams = 0
        pread, of = os.pread, StreamReader.of

        def counted_pread(descriptor: int, size: int, offset: int) -> bytes:
            piece = pread(descriptor, size, offset)
            self.files += len(piece)
            return piece

        def counted_of(stream: StreamRange) -> StreamReader:
            self.streams += 1
            return of(stream)

        monkeypatch.setattr(os, "pread", counted_pread)
        monkeypatch.setattr(StreamReader, "of", counted_of)


def test_holes_are_hashed_as_zeros_and_stay_holes(tmp_path: Path) -> None:
    path, size = tmp_path / "sparse", 1 << 20
    with path.open("wb") as file:
        file.seek(size // 2)
        file.write(b"x" * 4096)
        file.truncate(size)
    content = Content.of_file(path)
    good = Check("it", content, hashlib.sha256(path.read_bytes()).hexdigest())
    assert written(content, [good], tmp_path / "out") == (path.read_bytes(), size)
    assert (tmp_path / "out").stat().st_blocks <= 16


def test_a_file_shorter_than_planned(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(sources.data[:100])
    content = Content.of_source(FileRange(path), 200)
    with pytest.raises(InputError, match="short is shorter than it was when it was planned"):
        written(content, [Check("it", content, "0" * 64)], tmp_path / "out")


def test_the_first_error_ends_all(sources: Sources, tmp_path: Path) -> None:
    """The other thread stops before it has written all of its file."""
    content = scattered(sources, "file", [0, 100_000], 100_000)
    checks = [check(sources, "file", 100_000 * number, 100_000) for number in range(2)]

    calls: list[int] = []

    def full(count: int) -> None:
        calls.append(count)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        time.sleep(0.02)

    with (tmp_path / "out").open("wb") as file:
        with pytest.raises(HostError, match="no space left while writing"):
            write_checked(content, file.fileno(), checks, progress=full)
        last = sources.data[200_000 - PIECE : 200_000]
        assert last not in (tmp_path / "out").read_bytes()
    assert not [each.name for each in threading.enumerate() if each.name.startswith("copy")]


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """Pieces must not wait behind the files of other threads."""
    files = [tmp_path / str(number) for number in range(200)]
    for path in files:
        path.write_bytes(bytes([1]) * (4 * PIECE))
    contents = [Content.of_file(path) for path in files]
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    checks = [Check("it", content, digest) for content in contents]
    tracemalloc.start()
    try:
        with (tmp_path / "out").open("wb") as file:
            write_checked(Content.concat(contents), file.fileno(), checks, progress=lambda _: None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 * PIECE


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_a_blob_with_the_same_bytes_twice(sources: Sources, tmp_path: Path, kind: str) -> None:
    """In a damaged file system, several extents of a file may be the same blocks."""
    once = Content.of_source(source(sources, kind, 0), 4096)
    content = Content.concat([once, once])
    digest = hashlib.sha256(sources.data[:4096] * 2).hexdigest()
    data, _ = written(content, [Check("it", content, digest)], tmp_path / "out")
    assert data == sources.data[:4096] * 2
    with pytest.raises(InputError, match="it does not match"):
        written(content, [Check("it", content, "0" * 64)], tmp_path / "out")


def test_a_damaged_stream(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(sources.stream.read_bytes()[:1000])
    content = Content.of_source(StreamRange(path, Codec.GZIP), 100_000)
    with pytest.raises(InputError, match="not a whole gzip stream"):
        written(content, [Check("it", content, "0" * 64)], tmp_path / "out")
