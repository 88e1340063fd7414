"""Answers that are compressed on the way, though nobody asked for that: they are not expanded."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from collections.abc import Iterator

import pytest

from imager.errors import ImagerError
from imager.oci import manifest as m
from imager.oci.source import WrongBytesError
from tests.lib.registries.scripted_registry import (
    BLOB,
    LAYER,
    MANIFEST,
    Reply,
    Server,
    image,
    serving,
)

ROOT = "/v2/a/b/manifests/v1"
BLOB_PATH = f"/v2/a/b/blobs/{LAYER.digest}"
ENCODED = {"Content-Encoding": "gzip"}
# 64 MiB of zeros: 64 KiB on the way.
BOMB = gzip.compress(bytes(64 << 20))
MOST = 16 << 20


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_a_manifest_or_an_error_that_is_a_bomb(server: Server, status: int) -> None:
    typed = {"Content-Type": m.OCI_MANIFEST, **ENCODED}
    server.replies[ROOT] = [Reply(status, BOMB, typed)]
    with pytest.raises(ImagerError):
        image(server).root()


def test_a_manifest_that_is_compressed_is_not_taken(server: Server) -> None:
    typed = {"Content-Type": m.OCI_MANIFEST, **ENCODED}
    server.replies[ROOT] = [Reply(200, gzip.compress(MANIFEST), typed)]
    with pytest.raises(ImagerError):
        image(server).root()


@pytest.mark.usefixtures("little_memory")
def test_a_blob_that_is_a_bomb(server: Server) -> None:
    """It has fewer bytes on the way than the manifest says, and no length of its own."""
    server.replies[BLOB_PATH] = [
        Reply(200, BOMB, {**ENCODED, "Content-Length": str(len(BLOB)), "Connection": "close"})
    ]
    sink = io.BytesIO()
    with pytest.raises(ImagerError):
        image(server).fetch_blob(LAYER, sink)
    assert len(sink.getvalue()) <= len(BLOB)


def test_a_blob_that_is_compressed_is_not_taken(server: Server) -> None:
    body = gzip.compress(BLOB, 0)
    body = body[: len(BLOB)].ljust(len(BLOB), b"\0")
    server.replies[BLOB_PATH] = [Reply(200, body, ENCODED)]
    with pytest.raises(WrongBytesError):
        image(server).fetch_blob(LAYER, io.BytesIO())
