"""The registry client against Debian's docker-registry, judged by skopeo's own copies."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from imager.oci import manifest as m
from imager.oci.credentials import CredentialChain, CredentialStore
from imager.oci.digest import Digest
from imager.oci.endpoint import Hosts
from imager.oci.errors import NotFoundError
from imager.oci.httptransport import HttpTransport
from imager.oci.platform import Platform
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.retry import Patience
from imager.oci.source import ImageSource
from imager.support.errors import DependencyError, InputError
from tests.lib.registries.client import fetch
from tests.lib.registries.registry import (
    RunningRegistry,
    copy_image,
    make_certificate,
    make_htpasswd,
    running_registry,
)

pytestmark = pytest.mark.oracle

QUICK = Patience(retries=1, first_delay=0.01)
LOGIN = ("someone", "pass:word")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        copy_image(
            f"oci:{layout}:v1", f"docker://{running.host}/team/app:v1", "--dest-tls-verify=false"
        )
        yield running


def client(
    *,
    credentials: CredentialStore | None = None,
    hosts: Hosts | None = None,
) -> RegistryClient:
    return RegistryClient(
        credentials=credentials or CredentialChain(),
        hosts=hosts,
        connect=lambda tls: HttpTransport(tls=tls, patience=QUICK),
        patience=QUICK,
    )


def source(registry: RunningRegistry, name: str) -> ImageSource:
    return client().image(Reference.parse(f"{registry.host}/{name}"))


def pulled(image: ImageSource) -> dict[str, bytes]:
    """The image's files under the names that skopeo gives them in a `dir:` copy."""
    root = image.root()
    assert isinstance(root.document, m.ImageManifest)
    blobs = {blob.digest.hex: fetch(image, blob) for blob in root.document.blobs}
    return {"manifest.json": root.raw, **blobs}


def copied(registry: RunningRegistry, name: str, folder: Path, *options: str) -> dict[str, bytes]:
    source_name = f"docker://{registry.host}/{name}"
    copy_image(source_name, f"dir:{folder}", "--src-tls-verify=false", *options)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "version"}


def test_pulls_the_bytes_skopeo_pulls(registry: RunningRegistry, tmp_path: Path) -> None:
    ours = pulled(source(registry, "team/app:v1"))
    assert ours == copied(registry, "team/app:v1", tmp_path / "dir")
    digest = Digest.of(ours["manifest.json"])
    assert pulled(source(registry, f"team/app@{digest}")) == ours
    assert pulled(source(registry, f"team/app:other@{digest}")) == ours


def test_pulls_a_docker_manifest(registry: RunningRegistry, layout: Path, tmp_path: Path) -> None:
    target = f"docker://{registry.host}/team/docker:v1"
    copy_image(f"oci:{layout}:v1", target, "--dest-tls-verify=false", "--format", "v2s2")
    image = source(registry, "team/docker:v1")
    assert image.root().media_type == m.DOCKER_MANIFEST
    assert pulled(image) == copied(registry, "team/docker:v1", tmp_path / "dir")


def push_manifest(registry: RunningRegistry, path: str, raw: bytes, media_type: str) -> None:
    url = f"http://{registry.host}/v2/{path}"
    answer = requests.put(url, data=raw, headers={"Content-Type": media_type}, timeout=60)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("media_type", [m.OCI_INDEX, m.DOCKER_LIST])
def test_pulls_an_index(registry: RunningRegistry, media_type: str) -> None:
    one = source(registry, "team/app:v1").root()
    two = one.raw.replace(b'"schemaVersion":2,', b'"schemaVersion": 2,')
    push_manifest(registry, f"team/app/manifests/{Digest.of(two)}", two, one.media_type)
    entries = [
        one.descriptor(Platform("linux", "amd64")),
        m.RawManifest.parse(two).descriptor(Platform("linux", "arm64", "v8")),
    ]
    raw = m.index_json(entries).replace(m.OCI_INDEX.encode(), media_type.encode())
    push_manifest(registry, "team/app/manifests/multi", raw, media_type)

    image = source(registry, "team/app:multi")
    root = image.root()
    assert root.raw == raw
    assert isinstance(root.document, m.Index)
    assert root.document.media_type == media_type
    _, chosen = root.document.images
    assert chosen.platform == Platform("linux", "arm64", "v8")
    assert image.manifest(chosen.digest).raw == two


def test_a_missing_image_is_not_asked_for_twice(registry: RunningRegistry) -> None:
    for name in ("team/app:none", "nobody/nothing:v1", f"team/app@{Digest.of(b'')}"):
        with pytest.raises(
            NotFoundError, match=f"{registry.host}/{name}.* is not in the registry"
        ) as caught:
            source(registry, name).root()
        assert "check the image's name" in caught.value.hint
    absent = m.Descriptor(m.OCI_LAYER, Digest.of(b"absent"), 6)
    with pytest.raises(NotFoundError, match=f"blobs/{absent.digest}. is not in the registry"):
        fetch(source(registry, "team/app:v1"), absent)


def test_sees_a_blob_that_was_changed_in_the_registry(tmp_path: Path, layout: Path) -> None:
    with running_registry(tmp_path / "registry") as registry:
        target = f"docker://{registry.host}/team/app:v1"
        copy_image(f"oci:{layout}:v1", target, "--dest-tls-verify=false")
        image = source(registry, "team/app:v1")
        document = image.root().document
        assert isinstance(document, m.ImageManifest)
        layer = document.layers[0]
        folder = registry.storage / "docker/registry/v2/blobs/sha256" / layer.digest.hex[:2]
        stored = folder / layer.digest.hex / "data"
        data = bytearray(stored.read_bytes())
        data[20] ^= 1
        stored.write_bytes(data)
        with pytest.raises(DependencyError, match="does not match its digest"):
            fetch(image, layer)


def test_basic_authentication(tmp_path: Path, layout: Path) -> None:
    passwords = make_htpasswd(tmp_path / "htpasswd", user=LOGIN[0], password=LOGIN[1])
    with running_registry(tmp_path / "registry", htpasswd=passwords) as registry:
        login = ":".join(LOGIN)
        target = f"docker://{registry.host}/team/app:v1"
        copy_image(f"oci:{layout}:v1", target, "--dest-tls-verify=false", "--dest-creds", login)
        reference = Reference.parse(f"{registry.host}/team/app:v1")

        def image(password: str) -> ImageSource:
            path = tmp_path / "config.json"
            entry = {"username": LOGIN[0], "password": password}
            path.write_text(json.dumps({"auths": {registry.host: entry}}))
            return client(credentials=CredentialStore.open(path)).image(reference)

        expected = copied(registry, "team/app:v1", tmp_path / "dir", "--src-creds", login)
        assert pulled(image(LOGIN[1])) == expected
        with pytest.raises(InputError, match="refuses access: HTTP 401") as caught:
            image("wrong").root()
        assert caught.value.hint.endswith(f"docker login {registry.host}")
        with pytest.raises(InputError, match="requires a login"):
            client().image(reference).root()


def test_tls(tmp_path: Path, layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    with running_registry(tmp_path / "registry", certificate=certificate) as registry:
        target = f"docker://{registry.host}/team/app:v1"
        copy_image(f"oci:{layout}:v1", target, "--dest-tls-verify=false")
        expected = copied(registry, "team/app:v1", tmp_path / "dir")

        reference = Reference.parse(f"{registry.host}/team/app:v1")
        unchecked = client(hosts=Hosts().with_insecure())
        assert pulled(unchecked.image(reference)) == expected
        with pytest.raises(DependencyError, match="certificate is not trusted") as caught:
            source(registry, "team/app:v1").root()
        assert "--insecure" in caught.value.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert pulled(source(registry, "team/app:v1")) == expected


def test_says_when_a_registry_has_no_tls(registry: RunningRegistry) -> None:
    transport = HttpTransport(patience=QUICK)
    url = f"https://{registry.host}/v2/"
    assert not transport.answers(url)
    assert transport.answers(f"http://{registry.host}/v2/")
    with (
        pytest.raises(DependencyError, match="does not speak TLS") as caught,
        transport.request("GET", url, headers={}),
    ):
        pass
    assert "--insecure" in caught.value.hint


def test_goes_on_from_any_byte(registry: RunningRegistry) -> None:
    image = source(registry, "team/app:v1")
    document = image.root().document
    assert isinstance(document, m.ImageManifest)
    for blob in document.blobs:
        whole = fetch(image, blob)
        for start in (1, blob.size // 2, blob.size - 1, blob.size):
            sink = io.BytesIO()
            image.fetch_blob(blob, sink, have=[whole[:start]])
            assert sink.getvalue() == whole[start:]
            url = f"http://{registry.host}/v2/team/app/blobs/{blob.digest}"
            # The length that this registry states of an error's body is not true.
            with requests.get(
                url, headers={"Range": f"bytes={start}-"}, timeout=60, stream=True
            ) as answer:
                assert answer.status_code == (416 if start == blob.size else 206)
