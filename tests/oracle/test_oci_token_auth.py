"""docker-registry with a token server before it: a token for each repository, for a short time."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from imager.oci.manifest import ImageManifest
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.remote import RemoteImage
from imager.oci.settings import RegistryOptions
from imager.support.errors import InputError
from tests.lib.proxies.programmable import running_proxy
from tests.lib.registries.registry import (
    RunningRegistry,
    copy_image,
    make_certificate,
    make_layout,
    running_registry,
)
from tests.lib.registries.token_server import TokenRequest, TokenServer, running_token_server

pytestmark = pytest.mark.oracle

LOGIN = "someone:pass:word"


@dataclass(frozen=True)
class Site:
    registry: RunningRegistry
    tokens: TokenServer

    def client(self, *auth: str) -> RegistryClient:
        return RegistryClient.from_settings(RegistryOptions(auth=auth).parse())

    def image(self, client: RegistryClient, name: str, host: str = "") -> RemoteImage:
        return client.image(Reference.parse(f"{host or self.registry.host}/{name}"))


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    user, _, password = LOGIN.partition(":")
    signer = make_certificate(folder)
    with (
        running_token_server(signer, {user: password}) as tokens,
        running_registry(folder / "registry", auth=tokens.auth_config()) as registry,
    ):
        layout = make_layout(folder / "layout")
        for name in ("public/app", "public/other", "private/app"):
            target = f"docker://{registry.host}/{name}:v1"
            copy_image(f"oci:{layout}:v1", target, "--dest-tls-verify=false", "--dest-creds", LOGIN)
        tokens.requests.clear()
        yield Site(registry, tokens)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(shared: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    # No login that is stored on this machine.
    for name in ("HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    shared.tokens.requests.clear()
    shared.tokens.lifetime = 300.0
    return shared


def pull(image: RemoteImage) -> None:
    document = image.root().document
    assert isinstance(document, ImageManifest)
    for blob in document.blobs:
        image.fetch_blob(blob, io.BytesIO())


def scope(name: str) -> tuple[str, ...]:
    return (f"repository:{name}:pull",)


def test_pulls_without_a_login(site: Site) -> None:
    pull(site.image(site.client(), "public/app:v1"))
    assert site.tokens.requests == [TokenRequest(scope("public/app"), "", 200)]


def test_pulls_with_a_login(site: Site) -> None:
    client = site.client(f"{site.registry.host}={LOGIN}")
    pull(site.image(client, "private/app:v1"))
    assert site.tokens.requests == [TokenRequest(scope("private/app"), "someone", 200)]


def test_without_a_login_the_private_is_refused(site: Site) -> None:
    with pytest.raises(InputError, match=r"/private/app:v1: the registry refuses access") as caught:
        site.image(site.client(), "private/app:v1").root()
    assert caught.value.hint.endswith(f"docker login {site.registry.host}")
    assert len(site.tokens.requests) == 1


def test_a_wrong_login_is_tried_once(site: Site) -> None:
    client = site.client(f"{site.registry.host}=someone:wrong")
    with pytest.raises(InputError, match="refuses the stored credentials") as caught:
        site.image(client, "private/app:v1").root()
    assert "wrong" not in caught.value.message
    assert site.tokens.requests == [TokenRequest(scope("private/app"), "", 401)]


def test_the_login_of_another_registry_stays_at_home(site: Site) -> None:
    client = site.client("other.example=someone:secret")
    pull(site.image(client, "public/app:v1"))
    assert [request.user for request in site.tokens.requests] == [""]


def test_a_token_is_for_one_repository(site: Site) -> None:
    with running_proxy(site.registry.host) as proxy:
        client = site.client()
        pull(site.image(client, "public/app:v1", proxy.host))
        pull(site.image(client, "public/other:v1", proxy.host))
    sent = {
        name: [each.authorization for each in proxy.log.about(name)]
        for name in ("public/app", "public/other")
    }
    assert [len(set(values)) for values in sent.values()] == [2, 2]
    assert [values[0] for values in sent.values()] == ["", ""]
    assert not set(sent["public/app"][1:]) & set(sent["public/other"][1:])
    assert [each.scopes for each in site.tokens.requests] == [
        scope("public/app"),
        scope("public/other"),
    ]


def test_a_token_is_renewed_in_the_middle_of_a_run(site: Site) -> None:
    site.tokens.lifetime = 1.0
    image = site.image(site.client(), "public/app:v1")
    document = image.root().document
    assert isinstance(document, ImageManifest)
    assert len(site.tokens.requests) == 1
    time.sleep(2)
    site.tokens.lifetime = 300.0
    for blob in document.blobs:
        image.fetch_blob(blob, io.BytesIO())
    assert len(site.tokens.requests) == 2
