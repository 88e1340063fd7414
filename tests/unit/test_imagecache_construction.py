"""A cache on its way: what a failed run leaves, and what the next one makes of it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imager.cache.contents import BlobSource, Gathered
from imager.cache.plan import CacheLayout, CreateOptions, plan_creation
from imager.cache.write import write_gathered
from imager.oci.digest import Digest
from imager.oci.errors import WrongBytesError
from imager.oci.manifest import OCI_LAYER, Descriptor
from imager.oci.platform import Platform
from imager.oci.source import BlobCheck, ByteSink
from imager.support import folders
from imager.support.errors import DependencyError, HostError, OutputError
from imager.support.reporter import NullReporter
from tests.lib.registries.remote_source import RemoteSource

MIB = 1 << 20
DATA = bytes(range(256)) * (16 << 10)
FLAT = CreateOptions(layout=CacheLayout.FLAT)


@dataclass
class Source(RemoteSource):
    """Gives a blob, or fails half-way; it notes from where on it was asked."""

    error: Exception | None = None
    asked: list[int] = field(default_factory=list)

    def fetch_blob(self, blob: Descriptor, sink: ByteSink, *, have: Iterable[bytes] = ()) -> None:
        check = BlobCheck(blob, sink, where="blob", error=WrongBytesError)
        for piece in have:
            check.skip(piece)
        self.asked.append(check.size)
        middle = max(len(DATA) // 2, check.size)
        check.write(DATA[check.size : middle])
        if self.error:
            raise self.error
        check.write(DATA[middle:])
        check.finish()


def gathered(source: Source, size: int = len(DATA)) -> Gathered:
    blob = Descriptor(OCI_LAYER, Digest.of(DATA), size)
    manifests = {"manifests/registry.local/app/reference/v1": b"{}"}
    return Gathered(
        manifests, {blob.digest: BlobSource(blob, source)}, {Platform("linux", "amd64")}
    )


def create(folder: Path, source: Source) -> str:
    """Make the cache; return the warnings."""
    said = io.StringIO()
    write_gathered(gathered(source), folder / "cache", options=FLAT, reporter=NullReporter(said))
    return said.getvalue()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_what_came_before_a_registry_failed_is_not_fetched_again(tmp_path: Path) -> None:
    with pytest.raises(DependencyError):
        create(tmp_path, Source(DependencyError("gone")))
    (name,) = names(tmp_path)
    assert name.startswith(".cache.")
    source = Source()
    create(tmp_path, source)
    assert source.asked == [len(DATA) // 2]
    assert names(tmp_path) == ["cache"]


@pytest.mark.parametrize("error", [HostError("full"), OutputError("broken")])
def test_a_disk_that_failed_is_left_empty(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        create(tmp_path, Source(error))
    assert names(tmp_path) == []


def test_what_is_there_needs_no_more_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DependencyError):
        create(tmp_path, Source(DependencyError("gone")))
    monkeypatch.setattr(folders, "free_space", lambda _folder: len(DATA) // 2 - MIB)
    with pytest.raises(HostError, match="are needed"):
        create(tmp_path, Source())
    monkeypatch.setattr(folders, "free_space", lambda _folder: len(DATA) // 2 + MIB)
    create(tmp_path, Source())


def test_the_key_tells_plans_apart(tmp_path: Path) -> None:
    def key(size: int, options: CreateOptions) -> str:
        return plan_creation(gathered(Source(), size), tmp_path / "cache", options).key

    assert key(100, FLAT) == key(100, FLAT)
    others = [key(100, FLAT), key(101, FLAT), key(100, CreateOptions())]
    assert len(set(others)) == 3
