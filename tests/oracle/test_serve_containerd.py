"""containerd pulls from `images cache-serve`, by ctr and as kubelet does, with no other network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from imager.registry.containerd_hosts import write_hosts
from tests.lib.caches.caches import flip, sha256
from tests.lib.caches.pullable import PullableCache, PullableImage
from tests.lib.registries.serving import Server, generate_certificates, serving, stop, tls_options
from tests.lib.tools.cli import tool
from tests.lib.tools.containerd import CRI_NAMESPACE, Containerd, PullError

pytestmark = [pytest.mark.oracle, pytest.mark.root]

# This one is found by what `_default` says alone.
UNNAMED = "ghcr.io"


def tell(containerd: Containerd, pullable: PullableCache, url: str, ca: Path | None = None) -> None:
    """Write the hosts.toml files of the cache, without those of one of its registries."""
    registries = [registry for registry in pullable.registries if registry != UNNAMED]
    assert UNNAMED in pullable.registries
    write_hosts(containerd.hosts, registries, url=url, ca_file=ca)


@pytest.fixture(scope="module", params=["http", "tls"])
def server(
    request: pytest.FixtureRequest,
    pullable: PullableCache,
    certificates: Path,
    network: tuple[str, ...],
    containerd: Containerd,
) -> Iterator[Server]:
    """Return a server in containerd's network, which containerd has been told of."""
    options = tls_options(certificates) if request.param == "tls" else ()
    with serving(pullable.folder, *options, prefix=network) as running:
        tell(containerd, pullable, running.url, certificates / "ca.crt")
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
    containerd: Containerd, server: Server, pullable: PullableCache
) -> None:
    for image in pullable.images:
        for number, reference in enumerate(image.references):
            namespace = f"ctr-{number}"
            containerd.pull(namespace, reference)
            assert containerd.images(namespace) == {reference: image.digest}
            check_stored(containerd, namespace, image)
            containerd.forget(namespace)


def test_images_are_pulled_as_kubelet_does(
    containerd: Containerd, server: Server, pullable: PullableCache
) -> None:
    for image in pullable.images:
        for reference in image.references:
            config = image.manifests[0].config_digest
            assert containerd.cri_pull(reference) == config
            images = containerd.images(CRI_NAMESPACE)
            assert images[reference] == image.digest
            assert config in images
            check_stored(containerd, CRI_NAMESPACE, image)
            containerd.forget(CRI_NAMESPACE)


def test_every_request_says_whose_image_it_is(
    containerd: Containerd, server: Server, pullable: PullableCache
) -> None:
    before = len(server.requests())
    image = pullable.images[0]
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
    containerd: Containerd, network: tuple[str, ...], pullable: PullableCache, tmp_path: Path
) -> None:
    shutil.copytree(pullable.folder, tmp_path / "cache")
    flip(tmp_path / "cache/blob" / f"sha256-{sha256(pullable.images[0].manifests[0].blobs[1])}")
    with serving(tmp_path / "cache", prefix=network) as damaged:
        tell(containerd, pullable, damaged.url)
        with pytest.raises(PullError):
            containerd.pull("damaged", pullable.images[0].references[0])
    assert containerd.images("damaged") == {}


def test_a_foreign_authority_fails(
    containerd: Containerd,
    network: tuple[str, ...],
    pullable: PullableCache,
    certificates: Path,
    tmp_path: Path,
) -> None:
    generate_certificates(tmp_path)
    reference = pullable.images[0].references[0]
    with serving(pullable.folder, *tls_options(certificates), prefix=network) as server:
        tell(containerd, pullable, server.url, tmp_path / "ca.crt")
        with pytest.raises(PullError, match="certificate"):
            containerd.pull("foreign", reference)
        assert [each for each in server.requests() if each["status"] == 200] == []
        tell(containerd, pullable, server.url, certificates / "ca.crt")
        containerd.pull("foreign", reference)


def test_without_the_server_nothing_is_pulled(
    containerd: Containerd, network: tuple[str, ...], pullable: PullableCache
) -> None:
    image = pullable.images[0]
    with serving(pullable.folder, prefix=network) as server:
        tell(containerd, pullable, server.url)
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
    pullable: PullableCache,
    certificates: Path,
    tls: bool,
) -> None:
    shutil.rmtree(containerd.hosts)
    options = (*(tls_options(certificates) if tls else ()), "--hosts-dir", containerd.hosts)
    with serving(pullable.folder, *options, prefix=network):
        for image in pullable.images:
            containerd.pull("told", image.references[0])
            containerd.cri_pull(image.references[0])
        assert len(containerd.images("told")) == len(pullable.images)
    containerd.forget("told")
    containerd.forget(CRI_NAMESPACE)
