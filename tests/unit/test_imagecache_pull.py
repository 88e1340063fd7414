"""A cache that is an image in a registry: whose it is, and what is asked for it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from imager.cache.blobstore import BlobStore
from imager.cache.cache import ImageCache
from imager.cache.opened import OpenedCache
from imager.cache.pull import Puller
from imager.oci.reference import Reference
from imager.oci.settings import RegistrySettings
from imager.support import folders
from imager.support.arch import find_arch
from imager.support.errors import HostError, InputError
from imager.support.reporter import NullReporter
from tests.lib.caches.caches import INDEX_TYPE, MANIFEST_TYPE, CacheFixture, layout_blobs, make_flat
from tests.lib.caches.caches import make_layout as make_cache_layout
from tests.lib.registries.programmable import Registry

SILENT = NullReporter(io.StringIO())


@pytest.fixture
def layers(tmp_path: Path) -> BlobStore:
    return BlobStore.open(tmp_path / "layers")


def serve(registry: Registry, layout: Path) -> str:
    """Serve the layout's index as team/cache:v1; return the path of the layer."""
    repository = registry.repository("team/cache")
    blobs = layout_blobs(layout)
    repository.add_blob(blobs["layer"].read_bytes())
    repository.add_manifest(blobs["manifest"].read_bytes(), MANIFEST_TYPE)
    repository.add_manifest((layout / "index.json").read_bytes(), INDEX_TYPE, tag="v1")
    return f"/v2/team/cache/blobs/sha256:{blobs['layer'].name}"


def name(registry: Registry) -> Reference:
    return Reference.parse_strict(f"{registry.host}/team/cache:v1")


def pull(registry: Registry, layers: BlobStore, arch: str = "amd64") -> ImageCache:
    return puller(layers).pull(name(registry), arch=find_arch(arch)).cache


def pull_whole(registry: Registry, layers: BlobStore) -> OpenedCache:
    return puller(layers).pull(name(registry))


def puller(layers: BlobStore) -> Puller:
    return Puller(RegistrySettings(), layers.folder, SILENT)


def flat_cache(tmp_path: Path, arch: str = "amd64") -> CacheFixture:
    return make_flat(tmp_path / "flat", blob_size=5000, arches=(arch,))


def test_a_layer_is_fetched_once(registry: Registry, layers: BlobStore, tmp_path: Path) -> None:
    flat = flat_cache(tmp_path)
    layer = serve(registry, make_cache_layout(flat, tmp_path / "layout"))
    for _ in range(2):
        assert {file.path for file in pull(registry, layers).files} == set(flat.files)
    assert len(registry.log.at(layer)) == 1


def test_images_for_other_machines_are_refused(
    registry: Registry, layers: BlobStore, tmp_path: Path
) -> None:
    """The index promises amd64, and the images in the cache are for arm64."""
    serve(registry, make_cache_layout(flat_cache(tmp_path, "arm64"), tmp_path / "layout"))
    with pytest.raises(InputError, match="incomplete for amd64"):
        pull(registry, layers)


def test_the_platforms_of_an_index(registry: Registry, layers: BlobStore, tmp_path: Path) -> None:
    layout = make_cache_layout(
        flat_cache(tmp_path), tmp_path / "layout", platforms=("amd64", "arm64")
    )
    serve(registry, layout)
    entries = pull_whole(registry, layers).entries
    assert entries is not None
    assert sorted(map(str, entries)) == ["linux/amd64", "linux/arm64"]


def test_space_is_asked_for_before_the_layer(
    registry: Registry, layers: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = serve(registry, make_cache_layout(flat_cache(tmp_path), tmp_path / "layout"))
    monkeypatch.setattr(folders, "free_space", lambda _folder: 100)
    with pytest.raises(HostError, match="free, but"):
        pull(registry, layers)
    assert not registry.log.at(layer)
    monkeypatch.undo()
    pull(registry, layers)
    # What is there needs none.
    monkeypatch.setattr(folders, "free_space", lambda _folder: 0)
    pull(registry, layers)
