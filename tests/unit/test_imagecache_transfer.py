"""Several blobs at a time: right bytes at their places, and an end when one fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from imager.cache.contents import BlobSource
from imager.cache.journal import open_journal, recorded
from imager.cache.transfer import BlobPlace, deliver_directly, fetch_blobs
from imager.content.writeback import flushing
from imager.oci.digest import Digest
from imager.oci.errors import NotFoundError, WrongBytesError
from imager.oci.manifest import OCI_LAYER, Descriptor
from imager.oci.source import BlobCheck, ByteSink
from imager.support.errors import DependencyError, HostError, ImagerError, InputError
from imager.support.meter import Kept
from imager.support.reporter import Advance
from tests.lib.registries.remote_source import RemoteSource

SECONDS = 20.0


@dataclass
class Source(RemoteSource):
    """Gives a blob in pieces; `meanwhile` is called after the first one.

    It says that it has `data`, and sends `sent`, if that is set.
    """

    data: bytes
    meanwhile: threading.Barrier | None = None
    error: Exception | None = None
    sent: bytes | None = None
    mismatch: type[ImagerError] = WrongBytesError
    pieces: list[int] = field(default_factory=list)

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        check = BlobCheck(blob, sink, where="blob", error=self.mismatch)
        for piece in have:
            check.skip(piece)
        data = self.data if self.sent is None else self.sent
        for start in range(check.size, len(data), 100):
            piece = data[start : start + 100]
            check.write(piece)
            self.pieces.append(len(piece))
            if self.meanwhile and start == 0:
                self.meanwhile.wait(SECONDS)
            if self.error:
                raise self.error
        check.finish()


def place(source: Source, path: Path, offset: int = 0) -> BlobPlace:
    blob = Descriptor(OCI_LAYER, Digest.of(source.data), len(source.data))
    return BlobPlace(BlobSource(blob, source), path, offset)


def fetch(places: list[BlobPlace], *, jobs: int = 2, progress: Advance = lambda _: None) -> None:
    """Fetch to places beside which the journal lies."""
    digests = [each.wanted.blob.digest for each in places]
    with (
        open_journal(places[0].path.with_name("journal"), digests) as journal,
        flushing() as flusher,
    ):
        deliver = partial(deliver_directly, journal, flusher)
        fetch_blobs(places, deliver=deliver, jobs=jobs, progress=progress)


def test_each_blob_comes_to_its_place(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.touch()
    blobs = [bytes([number]) * (1000 + number) for number in range(20)]
    places, offset = [], 7
    for data in blobs:
        places.append(place(Source(data), layer, offset))
        offset += len(data)
    done: list[int] = []
    fetch(places, jobs=4, progress=done.append)
    assert layer.read_bytes() == bytes(7) + b"".join(blobs)
    assert sum(done) == sum(map(len, blobs))


def test_as_many_at_a_time_as_jobs(tmp_path: Path) -> None:
    """The barrier lets nobody on before three have come: with fewer at a time it would break."""
    barrier = threading.Barrier(3)
    path = tmp_path / "file"
    path.touch()
    places = [place(Source(bytes([n]) * 300, barrier), path, 300 * n) for n in range(3)]
    fetch(places, jobs=3)
    assert path.stat().st_size == 900


def test_one_failure_stops_the_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    good = [Source(bytes([number]) * 1_000_000) for number in range(50)]
    bad = Source(bytes(2_000_000), error=DependencyError("gone"))
    places = [place(source, path) for source in (*good, bad)]
    with pytest.raises(DependencyError, match="gone"):
        fetch(places)
    assert sum(sum(source.pieces) for source in good) < 25_000_000


def test_a_progress_that_raises_stops_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()

    def refuse(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch([place(Source(bytes(5000)), path)], progress=refuse)


def test_what_one_blob_lacks_does_not_keep_the_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    good = [Source(bytes([number]) * 10_000) for number in range(10)]
    missing = Source(bytes(30_000), error=NotFoundError("not there"))
    wrong = Source(b"a" * 20_000, sent=b"b" * 20_000)
    places = [place(source, path, 50_000 * n) for n, source in enumerate([missing, wrong, *good])]
    with pytest.raises(ImagerError, match="2 blobs failed:\n") as failed:
        fetch(places)
    assert "not there" in failed.value.message
    assert "does not match its digest" in failed.value.message
    assert [sum(source.pieces) for source in good] == [10_000] * 10


def test_a_later_run_goes_on_where_the_first_one_stopped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10 << 20))
    whole, half = Source(b"w" * (2 << 20)), Source(b"h" * (5 << 20))
    places = [place(whole, path, 10), place(half, path, 3 << 20)]
    fetch(places[:1])
    digests = [each.wanted.blob.digest for each in places]
    (tmp_path / "journal").unlink()
    with open_journal(tmp_path / "journal", digests) as journal:
        journal.record(digests[0], 2 << 20)
        journal.record(digests[1], 3 << 20)
    with path.open("r+b") as file:
        file.seek(3 << 20)
        file.write(b"h" * (3 << 20))
    whole.pieces.clear()

    done: list[int] = []
    fetch(places, progress=done.append)

    assert sum(whole.pieces) == 0
    assert sum(half.pieces) == 2 << 20
    assert sum(done) == 7 << 20
    data = path.read_bytes()
    assert data[10:][: 2 << 20] == whole.data
    assert data[3 << 20 :][: 5 << 20] == half.data
    assert recorded(tmp_path / "journal") == 7 << 20


@pytest.mark.parametrize("mismatch", [WrongBytesError, InputError])
def test_a_journal_that_tells_too_much_is_found_out(
    tmp_path: Path, mismatch: type[ImagerError]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 << 20))
    source = Source(b"w" * (2 << 20), mismatch=mismatch)
    wanted = place(source, path, 5)
    with open_journal(tmp_path / "journal", [wanted.wanted.blob.digest]) as journal:
        journal.record(wanted.wanted.blob.digest, 1 << 20)

    fetch([wanted])

    assert path.read_bytes()[5:][: 2 << 20] == source.data


def test_the_journal_is_never_ahead_of_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the run is killed: at each counter that is written, the bytes are there."""
    path = tmp_path / "file"
    path.touch()
    source = Source(bytes(range(256)) * (9 << 10))
    counts = []
    write = os.pwrite

    def watched(descriptor: int, data: bytes, offset: int) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "journal":
            counts.append(int.from_bytes(data, "little"))
            assert path.read_bytes()[5:][: counts[-1]] == source.data[: counts[-1]]
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", watched)
    fetch([place(source, path, 5)])
    assert len(counts) == 3
    assert counts[-1] == len(source.data)


def test_wrong_bytes_are_not_taken_down(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 << 20))
    source = Source(b"w" * (2 << 20), sent=b"x" * (2 << 20))
    with pytest.raises(WrongBytesError):
        fetch([place(source, path)])
    assert recorded(tmp_path / "journal") == 0


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to("/dev/full")
    with pytest.raises(HostError, match="no space left"):
        fetch([place(Source(bytes(5000)), tmp_path / "file")])


def test_what_an_earlier_run_left_is_no_speed(tmp_path: Path) -> None:
    (tmp_path / "layer").touch()
    data = bytes(range(256)) * 40
    with pytest.raises(DependencyError):
        fetch([place(Source(data, error=DependencyError("gone")), tmp_path / "layer")])
    done: list[int] = []
    fetch([place(Source(data), tmp_path / "layer")], progress=done.append)
    kept = sum(count for count in done if isinstance(count, Kept))
    assert kept == 100
    assert sum(done) == len(data)
