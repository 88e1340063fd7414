"""Answers that are compressed on the way, though nobody asked for that: they are not expanded."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from collections.abc import Iterator

import pytest

from imager.oci import manifest as m
from imager.oci.errors import WrongBytesError
from imager.support.errors import ImagerError
from tests.lib.registries.client import LAYER, fetch, image
from tests.lib.registries.programmable import Registry
from tests.lib.registries.sample import BLOB, BLOB_PATH, MANIFEST, ROOT
from tests.lib.servers.messages import Answer

ENCODED = {"Content-Encoding": "gzip"}
# 64 MiB of zeros: 64 KiB on the way.
BOMB = gzip.compress(bytes(64 << 20), mtime=0)
MOST = 16 << 20


@pytest.fixture
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_a_manifest_or_an_error_that_is_a_bomb(server: Registry, status: int) -> None:
    typed = {"Content-Type": m.OCI_MANIFEST, **ENCODED}
    server.always(ROOT, Answer(status, BOMB, typed))
    with pytest.raises(ImagerError):
        image(server).root()


def test_a_manifest_that_is_compressed_is_not_taken(server: Registry) -> None:
    typed = {"Content-Type": m.OCI_MANIFEST, **ENCODED}
    server.always(ROOT, Answer(200, gzip.compress(MANIFEST, mtime=0), typed))
    with pytest.raises(ImagerError):
        image(server).root()


@pytest.mark.usefixtures("little_memory")
def test_a_blob_that_is_a_bomb(server: Registry) -> None:
    """It has fewer bytes on the way than the manifest says, and no length of its own."""
    length = {"Content-Length": str(len(BLOB))}
    server.always(BLOB_PATH, Answer(200, BOMB, {**ENCODED, **length}))
    sink = io.BytesIO()
    with pytest.raises(ImagerError):
        image(server).fetch_blob(LAYER, sink)
    assert len(sink.getvalue()) <= len(BLOB)


def test_a_blob_that_is_compressed_is_not_taken(server: Registry) -> None:
    body = gzip.compress(BLOB, 0, mtime=0)
    body = body[: len(BLOB)].ljust(len(BLOB), b"\0")
    server.always(BLOB_PATH, Answer(200, body, ENCODED))
    with pytest.raises(WrongBytesError):
        fetch(image(server))
