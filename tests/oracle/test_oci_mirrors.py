"""Mirrors before registries: real registries, some behind a proxy that remembers and breaks."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from imager.oci.errors import NotFoundError
from imager.oci.manifest import ImageManifest
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.settings import RegistryOptions, RegistrySettings
from imager.support.errors import DependencyError, InputError
from tests.lib.proxies.programmable import Proxy, running_proxy
from tests.lib.registries.registry import (
    RunningRegistry,
    copy_image,
    make_htpasswd,
    make_layout,
    running_registry,
)
from tests.lib.servers.faults import CutAt
from tests.lib.servers.messages import Answer
from tests.lib.servers.rules import Where
from tests.lib.tools.cli import build, run, synthetic_assets

pytestmark = pytest.mark.oracle

APP = "team/app"
TEAM = Where(word="/v2/team/")
TEXT = "x" * 3000


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_layout(tmp_path_factory.mktemp("layout") / "image", text=TEXT)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Iterator[RunningRegistry]:
    """The registry itself: it has the image under its own name."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        push(layout, running.host, APP)
        yield running


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Iterator[RunningRegistry]:
    """A mirror: it has the image, also as one of Docker Hub's, and below a path."""
    with running_registry(tmp_path_factory.mktemp("mirror")) as running:
        for name in (APP, "library/app", "proxy/library/app"):
            push(layout, running.host, name)
        yield running


@pytest.fixture
def front(mirror: RunningRegistry) -> Iterator[Proxy]:
    """What remembers the requests to the mirror."""
    with running_proxy(mirror.host) as proxy:
        yield proxy


def push(layout: Path, host: str, name: str, *options: str) -> None:
    copy_image(
        f"oci:{layout}:v1", f"docker://{host}/{name}:v1", "--dest-tls-verify=false", *options
    )


def client(*mirrors: str, hosts: Path | None = None, auth: tuple[str, ...] = ()) -> RegistryClient:
    folders = (hosts,) if hosts else ()
    options = RegistryOptions(mirrors=mirrors, hosts_folders=folders, auth=auth, retries=2)
    return RegistryClient.from_settings(quick(options.parse()))


def quick(settings: RegistrySettings) -> RegistrySettings:
    patience = dataclasses.replace(settings.patience, first_delay=0.01, connect=20, read=20)
    return dataclasses.replace(settings, patience=patience)


def pull(registries: RegistryClient, name: str) -> dict[str, bytes]:
    """Pull an image; return its manifest and blobs."""
    image = registries.image(Reference.parse(name))
    root = image.root()
    assert isinstance(root.document, ImageManifest)
    found = {"manifest": root.raw}
    for blob in root.document.blobs:
        sink = io.BytesIO()
        image.fetch_blob(blob, sink)
        found[str(blob.digest)] = sink.getvalue()
    return found


def write_hosts(folder: Path, name: str, text: str) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / "hosts.toml").write_text(text)
    return folder


def test_a_mirror_of_docker_hub(mirror: RunningRegistry, front: Proxy) -> None:
    found = pull(client(f"docker.io={front.url}"), "app:v1")
    assert found == pull(client(), f"{mirror.host}/{APP}:v1")
    digests = [key for key in found if key != "manifest"]
    asked = ["manifests/v1?ns=docker.io", *(f"blobs/{each}?ns=docker.io" for each in digests)]
    assert [each.target for each in front.log.requests] == [
        f"/v2/library/app/{each}" for each in asked
    ]


@pytest.mark.parametrize(
    ("path", "repository"),
    [("/", "library/app"), ("/v2", "library/app"), ("/v2/proxy/", "proxy/library/app")],
)
def test_the_path_of_a_mirror(front: Proxy, path: str, repository: str) -> None:
    pull(client(f"docker.io={front.url}{path}"), "docker.io/app:v1")
    assert front.log.requests[0].path == f"/v2/{repository}/manifests/v1"


def test_a_mirror_is_for_one_registry(registry: RunningRegistry, front: Proxy) -> None:
    pull(client(f"other.example={front.url}"), f"{registry.host}/{APP}:v1")
    assert front.log.requests == []


@pytest.mark.parametrize("status", [401, 403, 404, 503])
def test_the_next_is_asked_when_a_mirror_fails(
    registry: RunningRegistry, mirror: RunningRegistry, front: Proxy, status: int
) -> None:
    front.always(TEAM, Answer(status))
    with running_proxy(mirror.host) as second:
        option = f"{registry.host}="
        found = pull(client(option + front.url, option + second.url), f"{registry.host}/{APP}:v1")
        assert found == pull(client(), f"{mirror.host}/{APP}:v1")
        assert len(second.log.about("/manifests/")) == 1
        assert len(second.log.about("/blobs/")) == 2
    # Without an answer of use it is not asked again and again.
    retried = 3 if status == 503 else 1
    assert len(front.log.about("/manifests/")) == retried
    assert len(front.log.about("/blobs/")) == (0 if status == 503 else 2)


def test_the_registry_itself_comes_last(registry: RunningRegistry) -> None:
    with running_proxy(registry.host) as gone:
        dead = gone.url
    found = pull(client(f"{registry.host}={dead}"), f"{registry.host}/{APP}:v1")
    assert found == pull(client(), f"{registry.host}/{APP}:v1")


def test_what_each_host_said_is_told(registry: RunningRegistry, front: Proxy) -> None:
    front.always(TEAM, Answer(403))
    with running_proxy(registry.host) as gone:
        dead = gone
    option = f"{registry.host}="
    name = f"{registry.host}/team/none:v1"
    with pytest.raises(NotFoundError) as caught:
        pull(client(option + dead.url, option + front.url), name)
    message = caught.value.message
    assert f"no answer from {dead.host}" in message
    assert f"{front.host}/team/none:v1: the registry refuses access" in message
    assert f"{name} is not in the registry" in message
    assert "\n" not in message


def test_a_blob_goes_on_at_the_next_host(registry: RunningRegistry, front: Proxy) -> None:
    front.always(Where(word="/blobs/"), CutAt(100))
    with running_proxy(registry.host) as main:
        found = pull(client(f"{main.host}={front.url}"), f"{main.host}/{APP}:v1")
        assert found == pull(client(), f"{registry.host}/{APP}:v1")
        ranges = [each.range for each in main.log.about("/blobs/")]
    # What the mirror gave is kept; the second blob is not asked of it any more.
    assert ranges == ["bytes=100-", None]


def test_each_host_has_its_own_login(tmp_path: Path, layout: Path, mirror: RunningRegistry) -> None:
    passwords = make_htpasswd(tmp_path / "htpasswd", user="me", password="secret")
    with (
        running_registry(tmp_path / "registry", htpasswd=passwords) as registry,
        running_proxy(registry.host) as guarded,
        running_proxy(mirror.host) as open_mirror,
    ):
        push(layout, registry.host, f"proxy/{APP}", "--dest-creds", "me:secret")
        auth = tmp_path / "auth.json"
        entries = {f"{guarded.host}/proxy/team": {"username": "me", "password": "secret"}}
        auth.write_text(json.dumps({"auths": entries}))
        option = f"hub.example={guarded.url}/v2/proxy"
        pull(client(option, auth=(str(auth),)), f"hub.example/{APP}:v1")
        both = client(f"hub.example={open_mirror.url}", option, auth=(str(auth),))
        pull(both, f"hub.example/{APP}:v1")
        assert {each.authorization for each in open_mirror.log.requests} == {""}
        with pytest.raises(InputError, match="requires a login") as caught:
            pull(client(f"{mirror.host}={guarded.url}"), f"{mirror.host}/team/none:v1")
        assert f"{guarded.host}/" in caught.value.message


def test_hosts_toml(tmp_path: Path, registry: RunningRegistry, front: Proxy) -> None:
    text = f"""
    [host."{front.url}"]
      capabilities = ["pull"]
      [host."{front.url}".header]
        x-tests = ["one", "two"]
    """
    folder = write_hosts(tmp_path / "certs.d", registry.host, text)
    pull(client(hosts=folder), f"{registry.host}/{APP}:v1")
    # A host without `resolve` is not asked what a tag is.
    assert front.log.about("/manifests/") == []
    assert len(front.log.about("/blobs/")) == 2
    assert {each.headers["x-tests"] for each in front.log.requests} == {"one, two"}
    port = registry.host.partition(":")[2]
    assert all(
        each.target.endswith(f"?ns=127.0.0.1%3A{port}") for each in front.log.about("/blobs/")
    )


def test_hosts_toml_for_all_others(tmp_path: Path, mirror: RunningRegistry, front: Proxy) -> None:
    folder = write_hosts(tmp_path / "certs.d", "_default", f'server = "{front.url}"\n')
    write_hosts(folder, "ghcr.io", 'capabilities = ["push"]\n')
    found = pull(client(hosts=folder), f"registry.example/{APP}:v1")
    assert found == pull(client(), f"{mirror.host}/{APP}:v1")
    with pytest.raises(InputError, match=r"no host of ghcr\.io has the capability 'resolve'"):
        pull(client(hosts=folder), f"ghcr.io/{APP}:v1")


def test_hosts_toml_overrides_the_path(tmp_path: Path, front: Proxy) -> None:
    text = f'[host."{front.url}/v2/proxy"]\noverride_path = true\n'
    folder = write_hosts(tmp_path / "certs.d", "docker.io", text)
    pull(client(hosts=folder), "app:v1")
    assert front.log.requests[0].target == "/v2/proxy/library/app/manifests/v1?ns=docker.io"


def test_a_cache_by_mirrors_is_the_same(tmp_path: Path, mirror: RunningRegistry) -> None:
    images = tmp_path / "images.txt"
    images.write_text("app:v1\n")
    common = ("images", "cache-create", "--images", images)
    made = []
    for name, path in (("one", ""), ("two", "/v2/proxy")):
        option = f"docker.io=http://{mirror.host}{path}"
        cache = tmp_path / name
        done = run(*common, "--image-cache-path", cache, "--registry-mirror", option)
        assert done.returncode == 0, done.stderr
        made.append((cache / "index.json").read_bytes())
    assert made[0] == made[1]


def test_a_profile_takes_its_cache_from_a_mirror(tmp_path: Path, mirror: RunningRegistry) -> None:
    images, cache = tmp_path / "images.txt", tmp_path / "cache"
    images.write_text(f"{mirror.host}/{APP}:v1\n")
    done = run("images", "cache-create", "--images", images, "--image-cache-path", cache)
    assert done.returncode == 0, done.stderr
    target = f"docker://{mirror.host}/talos/cache:v1"
    copy_image(f"oci:{cache}:latest", target, "--dest-tls-verify=false")
    built = build(
        *("iso", "--dry-run", "--assets", synthetic_assets(tmp_path / "assets")),
        *("--image-cache", "cache.example/talos/cache:v1"),
        *("--registry-mirror", f"cache.example=http://{mirror.host}"),
    )
    assert built["imageCache"]


def test_what_a_mirror_changed_is_noticed(
    tmp_path: Path, layout: Path, registry: RunningRegistry
) -> None:
    with running_registry(tmp_path / "registry") as bad:
        push(layout, bad.host, APP)
        root = client().image(Reference.parse(f"{bad.host}/{APP}:v1")).root()
        assert isinstance(root.document, ImageManifest)
        layer = root.document.layers[0].digest.hex
        stored = bad.storage / "docker/registry/v2/blobs/sha256" / layer[:2] / layer / "data"
        stored.write_bytes(bytes(len(stored.read_bytes())))
        with pytest.raises(DependencyError, match=f"{bad.host}: .* does not match its digest"):
            pull(client(f"{registry.host}=http://{bad.host}"), f"{registry.host}/{APP}:v1")
