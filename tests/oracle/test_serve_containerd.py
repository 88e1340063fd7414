"""containerd pulls from `images cache-serve`, by ctr and as kubelet does, with no other network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from imager.server.hosts import write_hosts
from tests.lib.caches.caches import flip, sha256
from tests.lib.caches.pullable import PullableCache, PullableImage, make_pullable
from tests.lib.machines.netns import lonely_network
from tests.lib.registries.serving import Server, generate_certificates, serving, stop, tls_options
from tests.lib.tools.cli import tool
from tests.lib.tools.containerd import CRI_NAMESPACE, Containerd, PullError, running_containerd

pytestmark = [pytest.mark.oracle, pytest.mark.root]

# This one is found by what `_default` says alone.
UNNAMED = "ghcr.io"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> PullableCache:
    return make_pullable(tmp_path_factory.mktemp("pullable") / "cache")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[str, ...]]:
    with lonely_network() as prefix:
        yield prefix


@pytest.fixture(scope="module")
def containerd(network: tuple[str, ...]) -> Iterator[Containerd]:
    with running_containerd(network) as running:
        yield running


def tell(containerd: Containerd, cache: PullableCache, url: str, ca: Path | None = None) -> None:
    """Write the hosts.toml files of the cache, without those of one of its registries."""
    registries = [registry for registry in cache.registries if registry != UNNAMED]
    assert UNNAMED in cache.registries
    write_hosts(containerd.hosts, registries, url=url, ca_file=ca)


@pytest.fixture(scope="module", params=["http", "tls"])
def server(
    request: pytest.FixtureRequest,
    cache: PullableCache,
    certificates: Path,
    network: tuple[str, ...],
    containerd: Containerd,
) -> Iterator[Server]:
    """Return a server in containerd's network, which containerd has been told of."""
    options = tls_options(certificates) if request.param == "tls" else ()
    with serving(cache.folder, *options, prefix=network) as running:
        tell(containerd, cache, running.url, certificates / "ca.crt")
        yield running


def check_stored(containerd: Containerd, namespace: str, image: PullableImage) -> None:
    """Check that containerd has the image's content to the byte, and nothing else."""
    stored = containerd.stored(namespace)
    assert {digest: f"sha256:{sha256(data)}" for digest, data in stored.items()} == {
        digest: digest for digest in stored
    }
    assert stored == image.contents


def test_the_network_has_no_way_out(network: tuple[str, ...]) -> None:
    assert [line.split()[1] for line in tool(*network, "ip", "-o", "link").splitlines()] == ["lo:"]
    assert tool(*network, "ip", "route") == ""


def test_ctr_pulls_every_image(
    containerd: Containerd, server: Server, cache: PullableCache
) -> None:
    for image in cache.images:
        for number, reference in enumerate(image.references):
            namespace = f"ctr-{number}"
            containerd.pull(namespace, reference)
            assert containerd.images(namespace) == {reference: image.digest}
            check_stored(containerd, namespace, image)
            containerd.forget(namespace)


def test_images_are_pulled_as_kubelet_does(
    containerd: Containerd, server: Server, cache: PullableCache
) -> None:
    for image in cache.images:
        for reference in image.references:
            config = image.manifests[0].config_digest
            assert containerd.cri_pull(reference) == config
            images = containerd.images(CRI_NAMESPACE)
            assert images[reference] == image.digest
            assert config in images
            check_stored(containerd, CRI_NAMESPACE, image)
            containerd.forget(CRI_NAMESPACE)


def test_every_request_says_whose_image_it_is(
    containerd: Containerd, server: Server, cache: PullableCache
) -> None:
    before = len(server.requests())
    image = cache.images[0]
    containerd.pull("said", image.references[0])
    containerd.forget("said")
    asked = server.requests()[before:]
    assert asked
    queries = [parse_qs(urlsplit(each["target"]).query) for each in asked]
    assert queries == [{"ns": [image.registry]}] * len(asked)
    assert {each["status"] for each in asked} == {200}


@pytest.mark.parametrize(
    "reference",
    [
        "docker.io/library/alpine:3.21",
        f"docker.io/library/alpine@sha256:{'0' * 64}",
        "quay.io/library/alpine:3.20",
        "registry.local:5000/team/none:v1",
    ],
)
def test_what_is_not_in_the_cache_fails(
    containerd: Containerd, server: Server, reference: str
) -> None:
    before = len(server.requests())
    with pytest.raises(PullError):
        containerd.pull("absent", reference)
    with pytest.raises(PullError):
        containerd.cri_pull(reference)
    answers = [each["status"] for each in server.requests()[before:]]
    assert len(answers) >= 2
    assert set(answers) == {404}
    assert containerd.images("absent") == {}


def test_a_damaged_layer_fails(
    containerd: Containerd, network: tuple[str, ...], cache: PullableCache, tmp_path: Path
) -> None:
    shutil.copytree(cache.folder, tmp_path / "cache")
    flip(tmp_path / "cache/blob" / f"sha256-{sha256(cache.images[0].manifests[0].blobs[1])}")
    with serving(tmp_path / "cache", prefix=network) as damaged:
        tell(containerd, cache, damaged.url)
        with pytest.raises(PullError):
            containerd.pull("damaged", cache.images[0].references[0])
    assert containerd.images("damaged") == {}


def test_a_foreign_authority_fails(
    containerd: Containerd,
    network: tuple[str, ...],
    cache: PullableCache,
    certificates: Path,
    tmp_path: Path,
) -> None:
    generate_certificates(tmp_path)
    reference = cache.images[0].references[0]
    with serving(cache.folder, *tls_options(certificates), prefix=network) as server:
        tell(containerd, cache, server.url, tmp_path / "ca.crt")
        with pytest.raises(PullError, match="certificate"):
            containerd.pull("foreign", reference)
        assert [each for each in server.requests() if each["status"] == 200] == []
        tell(containerd, cache, server.url, certificates / "ca.crt")
        containerd.pull("foreign", reference)


def test_without_the_server_nothing_is_pulled(
    containerd: Containerd, network: tuple[str, ...], cache: PullableCache
) -> None:
    image = cache.images[0]
    with serving(cache.folder, prefix=network) as server:
        tell(containerd, cache, server.url)
        containerd.pull("before", image.references[0])
        stop(server.process)
        for reference in image.references:
            with pytest.raises(PullError):
                containerd.pull("after", reference)
            with pytest.raises(PullError):
                containerd.cri_pull(reference)
    check_stored(containerd, "before", image)
    assert containerd.stored("after") == {}


@pytest.mark.parametrize("tls", [False, True])
def test_the_server_tells_containerd_of_itself(
    containerd: Containerd,
    network: tuple[str, ...],
    cache: PullableCache,
    certificates: Path,
    tls: bool,
) -> None:
    shutil.rmtree(containerd.hosts)
    options = (*(tls_options(certificates) if tls else ()), "--hosts-dir", containerd.hosts)
    with serving(cache.folder, *options, prefix=network):
        for image in cache.images:
            containerd.pull("told", image.references[0])
            containerd.cri_pull(image.references[0])
        assert len(containerd.images("told")) == len(cache.images)
    containerd.forget("told")
    containerd.forget(CRI_NAMESPACE)
