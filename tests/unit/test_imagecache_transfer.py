"""Several blobs at a time: right bytes at their places, and an end when one fails."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imager.errors import DependencyError
from imager.extents import Content
from imager.imagecache.gather import BlobSource
from imager.imagecache.transfer import BlobPlace, fetch_blobs
from imager.oci.digest import Digest
from imager.oci.manifest import OCI_LAYER, Descriptor, RawManifest
from imager.oci.source import ByteSink

SECONDS = 10.0


@dataclass
class Source:
    """Gives a blob in pieces; `meanwhile` is called after the first one."""

    data: bytes
    meanwhile: threading.Barrier | None = None
    error: Exception | None = None
    warnings: tuple[str, ...] = ()
    pieces: list[int] = field(default_factory=list)

    def root(self) -> RawManifest:
        raise NotImplementedError

    def manifest(self, target: str | Digest) -> RawManifest:
        raise NotImplementedError

    def blob_content(self, blob: Descriptor) -> Content | None:
        return None

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        for start in range(0, len(self.data), 100):
            piece = self.data[start : start + 100]
            sink.write(piece)
            self.pieces.append(len(piece))
            if self.meanwhile and start == 0:
                self.meanwhile.wait(SECONDS)
            if self.error:
                raise self.error


def place(source: Source, path: Path, offset: int = 0) -> BlobPlace:
    blob = Descriptor(OCI_LAYER, Digest.of(source.data), len(source.data))
    return BlobPlace(BlobSource(blob, source), path, offset)


def test_each_blob_comes_to_its_place(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.touch()
    blobs = [bytes([number]) * (1000 + number) for number in range(20)]
    places, offset = [], 7
    for data in blobs:
        places.append(place(Source(data), layer, offset))
        offset += len(data)
    done: list[int] = []
    fetch_blobs(places, jobs=4, progress=done.append)
    assert layer.read_bytes() == bytes(7) + b"".join(blobs)
    assert sum(done) == sum(map(len, blobs))


def test_as_many_at_a_time_as_jobs(tmp_path: Path) -> None:
    """The barrier lets nobody on before three have come: with fewer at a time it would break."""
    barrier = threading.Barrier(3)
    path = tmp_path / "file"
    path.touch()
    places = [place(Source(bytes([n]) * 300, barrier), path, 300 * n) for n in range(3)]
    fetch_blobs(places, jobs=3, progress=lambda _: None)
    assert path.stat().st_size == 900


def test_one_failure_stops_the_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    good = [Source(bytes(1_000_000)) for _ in range(50)]
    bad = Source(bytes(2_000_000), error=DependencyError("gone"))
    places = [place(source, path) for source in (*good, bad)]
    with pytest.raises(DependencyError, match="gone"):
        fetch_blobs(places, jobs=2, progress=lambda _: None)
    assert sum(sum(source.pieces) for source in good) < 25_000_000


def test_a_progress_that_raises_stops_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()

    def refuse(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_blobs([place(Source(bytes(5000)), path)], jobs=2, progress=refuse)
