"""The layer cache: what is in it is good or fetched again, and every place gets its own bytes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imager.cache.blobstore import BlobStore
from imager.cache.contents import BlobSource
from imager.cache.transfer import BlobPlace, deliver_through_store
from imager.oci.digest import Digest
from imager.oci.errors import WrongBytesError
from imager.oci.manifest import OCI_LAYER, Descriptor
from imager.oci.source import BlobCheck, ByteSink
from imager.support.errors import HostError, ImagerError, InputError
from imager.support.meter import Kept
from imager.support.workers import Cancel, CancelledError, Work
from tests.lib.registries.remote_source import RemoteSource

DATA = bytes(range(256)) * 20
BLOB = Descriptor(OCI_LAYER, Digest.of(DATA), len(DATA))


@dataclass
class Source(RemoteSource):
    """A remote source that counts how often it is asked, and what it sends."""

    data: bytes = DATA
    error: type[ImagerError] = WrongBytesError
    asked: int = 0
    sent: int = 0

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        self.asked += 1
        check = BlobCheck(blob, sink, where="blob", error=self.error)
        for piece in have:
            check.skip(piece)
        self.sent += len(self.data) - check.size
        check.write(self.data[check.size :])
        check.finish()


@pytest.fixture
def cache(tmp_path: Path) -> BlobStore:
    return BlobStore.open(tmp_path / "made/layers")


def get(cache: BlobStore, source: Source) -> bytes:
    return cache.get(BlobSource(BLOB, source), Work()).read_bytes()


def deliver(cache: BlobStore, source: Source, path: Path, offset: int = 0) -> list[int]:
    done: list[int] = []
    deliver_through_store(
        cache, BlobPlace(BlobSource(BLOB, source), path, offset), Work(done.append)
    )
    return done


def place(path: Path, size: int = len(DATA)) -> Path:
    path.write_bytes(bytes(size))
    return path


def keep_times(path: Path, data: bytes) -> None:
    """Change a file behind the back of its times, as a failing disk does."""
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_blob_is_fetched_once(cache: BlobStore) -> None:
    source = Source()
    assert not cache.has(BLOB)
    assert get(cache, source) == DATA
    assert cache.has(BLOB)
    assert get(BlobStore.open(cache.folder), source) == DATA
    assert source.asked == 1
    assert [path.name for path in cache.folder.iterdir()] == [f"sha256-{BLOB.digest.hex}"]


@pytest.mark.parametrize(
    "damaged", [DATA[:-1] + b"x", DATA[:-1], DATA + b"x", b""], ids=["bit", "short", "long", "none"]
)
def test_a_damaged_blob_is_replaced(cache: BlobStore, damaged: bytes) -> None:
    source = Source()
    get(cache, source)
    cache.path(BLOB).write_bytes(damaged)
    assert get(cache, source) == DATA
    assert source.asked == 2


@pytest.mark.parametrize("damaged", [DATA[:-1], DATA + b"x"])
def test_a_wrong_size_is_seen_whatever_the_time(cache: BlobStore, damaged: bytes) -> None:
    source = Source()
    get(cache, source)
    keep_times(cache.path(BLOB), damaged)
    assert get(cache, source) == DATA
    assert source.asked == 2


def test_a_blob_that_somebody_put_there_is_checked_and_taken(cache: BlobStore) -> None:
    source = Source()
    cache.path(BLOB).write_bytes(DATA)
    assert get(cache, source) == DATA
    assert source.asked == 0


def test_a_link_is_not_followed(cache: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(DATA)
    cache.path(BLOB).symlink_to(tmp_path / "elsewhere")
    source = Source()
    assert get(cache, source) == DATA
    assert not cache.path(BLOB).is_symlink()
    assert source.asked == 1


def test_what_a_killed_run_left_is_gone_on_with(cache: BlobStore) -> None:
    partial = cache.folder / f".sha256-{BLOB.digest.hex}.partial"
    partial.write_bytes(DATA[:1000])
    source = Source()
    assert get(cache, source) == DATA
    assert source.sent == len(DATA) - 1000
    assert not partial.exists()


@pytest.mark.parametrize("error", [WrongBytesError, InputError])
@pytest.mark.parametrize("left", [b"x" * 1000, DATA + b"x" * 10, b"x" * len(DATA)])
def test_what_a_killed_run_left_may_be_wrong(
    cache: BlobStore, left: bytes, error: type[ImagerError]
) -> None:
    """Be the source a registry or local."""
    (cache.folder / f".sha256-{BLOB.digest.hex}.partial").write_bytes(left)
    assert get(cache, Source(error=error)) == DATA


class Watched(Cancel):
    """A token that calls `checked` when it is looked at for the first time."""

    def __init__(self, checked: Callable[[], None]) -> None:
        super().__init__()
        self.checked = checked

    @property
    def is_set(self) -> bool:
        checked, self.checked = self.checked, lambda: None
        checked()
        return super().is_set


@pytest.fixture
def held(cache: BlobStore) -> Iterator[int]:
    """Yield the partial file of a run that has it locked."""
    with (cache.folder / f".sha256-{BLOB.digest.hex}.partial").open("w+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def test_a_blob_that_another_run_fetches_is_waited_for(cache: BlobStore, held: int) -> None:
    source = Source()

    work = Work()
    work.cancel.set()
    with pytest.raises(CancelledError):
        cache.get(BlobSource(BLOB, source), work)
    assert source.asked == 0
    assert os.fstat(held).st_size == 0


def test_what_another_run_fetched_is_taken(cache: BlobStore, held: int) -> None:
    source = Source()

    def finish() -> None:
        os.pwrite(held, DATA, 0)
        (cache.folder / f".sha256-{BLOB.digest.hex}.partial").rename(cache.path(BLOB))
        fcntl.flock(held, fcntl.LOCK_UN)

    work = Work(cancel=Watched(finish))
    assert cache.get(BlobSource(BLOB, source), work).read_bytes() == DATA
    assert source.asked == 0


def test_wrong_bytes_do_not_come_in(cache: BlobStore) -> None:
    with pytest.raises(WrongBytesError):
        get(cache, Source(data=b"x" * len(DATA)))
    assert not cache.has(BLOB)
    assert get(cache, Source()) == DATA


def test_a_file_of_its_own_shares_its_bytes(cache: BlobStore, tmp_path: Path) -> None:
    path = place(tmp_path / "blob")
    assert sum(deliver(cache, Source(), path)) == len(DATA)
    assert path.samefile(cache.path(BLOB))
    assert sum(deliver(cache, Source(), place(tmp_path / "again"))) == len(DATA)


def test_a_place_in_a_larger_file_gets_a_copy(cache: BlobStore, tmp_path: Path) -> None:
    path = place(tmp_path / "layer", len(DATA) + 100)
    for offset in (0, 50):
        path.write_bytes(bytes(len(DATA) + 100))
        deliver(cache, Source(), path, offset)
        assert path.read_bytes() == bytes(offset) + DATA + bytes(100 - offset)
        assert not path.samefile(cache.path(BLOB))


def test_a_damaged_blob_with_the_right_time_is_found_by_the_copy(
    cache: BlobStore, tmp_path: Path
) -> None:
    source = Source()
    get(cache, source)
    keep_times(cache.path(BLOB), DATA[:-1] + b"x")
    path = place(tmp_path / "layer", len(DATA) + 100)
    deliver(cache, source, path, 50)
    assert path.read_bytes() == bytes(50) + DATA + bytes(50)
    assert source.asked == 2


def test_a_change_to_the_output_is_noticed(cache: BlobStore, tmp_path: Path) -> None:
    """A flat cache and the layer cache share their bytes: who writes to one changes both."""
    source = Source()
    path = place(tmp_path / "blob")
    deliver(cache, source, path)
    path.write_bytes(b"x" * len(DATA))
    assert get(cache, source) == DATA
    assert source.asked == 2


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot create the layer cache") as failed:
        BlobStore.open(tmp_path / "file/layers")
    assert "--layer-cache" in failed.value.hint


def test_what_is_there_is_no_speed(cache: BlobStore, tmp_path: Path) -> None:
    first = deliver(cache, Source(), place(tmp_path / "one"))
    assert sum(first) == len(DATA)
    assert sum(count for count in first if isinstance(count, Kept)) == 0
    again = deliver(cache, Source(), place(tmp_path / "two"))
    assert sum(count for count in again if isinstance(count, Kept)) == sum(again) == len(DATA)


def test_what_an_earlier_run_left_is_no_speed(cache: BlobStore, tmp_path: Path) -> None:
    (cache.folder / f".{BLOB.digest.file_name}.partial").write_bytes(DATA[:700])
    done = deliver(cache, Source(), place(tmp_path / "one"))
    assert sum(count for count in done if isinstance(count, Kept)) == 700
    assert sum(done) == len(DATA)
