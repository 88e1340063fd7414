"""What several oracle tests look at; nothing but a registry is changed by a test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, make_flat
from tests.lib.caches.pullable import PullableCache, make_pullable
from tests.lib.machines.netns import lonely_network
from tests.lib.registries.registry import RunningRegistry, make_layout, running_registry
from tests.lib.registries.serving import generate_certificates
from tests.lib.tools.containerd import Containerd, running_containerd
from tests.lib.tools.talos_modules import TalosModules, talos_modules
from tests.lib.volumes.foreign_volumes import small_tree, write_tree


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """A docker-registry for one file of tests; it has nothing at the start."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with the small image v1, made by umoci."""
    return make_layout(tmp_path_factory.mktemp("layout") / "image")


@pytest.fixture(scope="module", name="cache")
def flat_cache(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    """A flat tree of three images of three layers each."""
    return make_flat(tmp_path_factory.mktemp("cache") / "flat", images=3, layers=3)


@pytest.fixture(scope="module")
def pullable(tmp_path_factory: pytest.TempPathFactory) -> PullableCache:
    """A cache of images that containerd can pull."""
    return make_pullable(tmp_path_factory.mktemp("pullable") / "cache")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `images cache-cert-gen` makes for loopback."""
    return generate_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[str, ...]]:
    """What is put before a command to run it in a network of its own."""
    with lonely_network() as prefix:
        yield prefix


@pytest.fixture(scope="module")
def containerd(network: tuple[str, ...]) -> Iterator[Containerd]:
    """A containerd in that network."""
    with running_containerd(network) as running:
        yield running


@pytest.fixture(scope="module")
def talos() -> Iterator[TalosModules]:
    """Talos's own Go modules."""
    with talos_modules() as modules:
        yield modules


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of `small_tree`, to make volumes of."""
    return write_tree(tmp_path_factory.mktemp("tree"), small_tree())


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder on another kind of file system than the disk's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)
