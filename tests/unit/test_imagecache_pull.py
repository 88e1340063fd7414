"""A cache that is an image in a registry: whose it is, and what is asked for it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from imager import workspace
from imager.arch import find_arch
from imager.errors import HostError, InputError
from imager.imagecache.cache import ImageCache
from imager.imagecache.layercache import LayerCache
from imager.imagecache.opened import OpenedCache
from imager.imagecache.pull import pull_cache, pull_whole_cache
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistrySettings
from imager.reporter import NullReporter
from tests.lib.caches.caches import INDEX_TYPE, MANIFEST_TYPE, CacheFixture, layout_blobs, make_flat
from tests.lib.caches.caches import make_layout as make_cache_layout
from tests.lib.registries.scripted_registry import Reply, Server, serving

BASE = "/v2/team/cache"
SILENT = NullReporter(io.StringIO())


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def layers(tmp_path: Path) -> LayerCache:
    return LayerCache.open(tmp_path / "layers")


def serve(server: Server, layout: Path) -> str:
    """Serve the layout's index as team/cache:v1; return the path of the layer."""
    blobs = layout_blobs(layout)
    manifest = blobs["manifest"]
    index = (layout / "index.json").read_bytes()
    typed = {"Content-Type": MANIFEST_TYPE}
    layer = f"{BASE}/blobs/sha256:{blobs['layer'].name}"
    server.replies |= {
        f"{BASE}/manifests/v1": [Reply(body=index, headers={"Content-Type": INDEX_TYPE})],
        f"{BASE}/manifests/sha256:{manifest.name}": [
            Reply(body=manifest.read_bytes(), headers=typed)
        ],
        layer: [Reply(body=blobs["layer"].read_bytes())],
    }
    return layer


def client() -> RegistryClient:
    return RegistryClient.from_settings(RegistrySettings())


def name(server: Server) -> Reference:
    return Reference.parse_strict(f"127.0.0.1:{server.port}/team/cache:v1")


def pull(server: Server, layers: LayerCache, arch: str = "amd64") -> ImageCache:
    return pull_cache(
        name(server), arch=find_arch(arch), client=client(), layer_cache=layers, reporter=SILENT
    )


def pull_whole(server: Server, layers: LayerCache) -> OpenedCache:
    return pull_whole_cache(name(server), client=client(), layer_cache=layers, reporter=SILENT)


def flat_cache(tmp_path: Path, arch: str = "amd64") -> CacheFixture:
    return make_flat(tmp_path / "flat", blob_size=5000, arches=(arch,))


def test_a_layer_is_fetched_once(server: Server, layers: LayerCache, tmp_path: Path) -> None:
    flat = flat_cache(tmp_path)
    layer = serve(server, make_cache_layout(flat, tmp_path / "layout"))
    for _ in range(2):
        assert {file.path for file in pull(server, layers).files} == set(flat.files)
    assert len(server.paths(layer)) == 1


def test_images_for_other_machines_are_refused(
    server: Server, layers: LayerCache, tmp_path: Path
) -> None:
    """The index promises amd64, and the images in the cache are for arm64."""
    serve(server, make_cache_layout(flat_cache(tmp_path, "arm64"), tmp_path / "layout"))
    with pytest.raises(InputError, match="incomplete for amd64"):
        pull(server, layers)


def test_the_platforms_of_an_index(server: Server, layers: LayerCache, tmp_path: Path) -> None:
    layout = make_cache_layout(
        flat_cache(tmp_path), tmp_path / "layout", platforms=("amd64", "arm64")
    )
    serve(server, layout)
    entries = pull_whole(server, layers).entries
    assert entries is not None
    assert sorted(map(str, entries)) == ["linux/amd64", "linux/arm64"]


def test_space_is_asked_for_before_the_layer(
    server: Server, layers: LayerCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = serve(server, make_cache_layout(flat_cache(tmp_path), tmp_path / "layout"))
    monkeypatch.setattr(workspace, "free_space", lambda _folder: 100)
    with pytest.raises(HostError, match="free and"):
        pull(server, layers)
    assert not server.paths(layer)
    monkeypatch.undo()
    pull(server, layers)
    # What is there needs none.
    monkeypatch.setattr(workspace, "free_space", lambda _folder: 0)
    pull(server, layers)
