"""skopeo and crane copy images out of `images cache-serve`, over HTTP and TLS, to the byte."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.lib.caches.caches import sha256
from tests.lib.caches.pullable import PullableCache, PullableImage, by_digest
from tests.lib.registries.registry import running_registry
from tests.lib.registries.serving import Server, serving, tls_options
from tests.lib.tools.cli import tool
from tests.lib.tools.crane import crane_program

pytestmark = pytest.mark.oracle

_TIMEOUT = 60
PLATFORM = ("--platform", "linux/amd64")


@pytest.fixture(scope="module", params=["http", "tls"])
def server(
    request: pytest.FixtureRequest, pullable: PullableCache, certificates: Path
) -> Iterator[Server]:
    options = tls_options(certificates) if request.param == "tls" else ()
    with serving(pullable.folder, *options) as running:
        yield running


def names_at(server: Server, image: PullableImage) -> list[str]:
    """Return what the image is called at the server: by its tag, if it has one, and digest."""
    return [reference.replace(image.registry, server.address, 1) for reference in image.references]


def everything(image: PullableImage) -> dict[str, bytes]:
    """Return the contents of all platforms, by digest."""
    blobs = [blob for each in image.manifests for blob in (each.data, *each.blobs)]
    return by_digest(image.root, *blobs)


def is_complete(image: PullableImage) -> bool:
    """Whether the cache has every platform that the index names."""
    named = json.loads(image.index)["manifests"] if image.index else [None]
    return len(named) == len(image.manifests)


def wanted(image: PullableImage) -> Mapping[str, bytes]:
    """Return what a copy has: all of the image, or amd64 alone when there is no more."""
    if is_complete(image):
        return everything(image)
    first = image.manifests[0]
    return by_digest(first.data, *first.blobs)


def skopeo(server: Server, certificates: Path, name: str, folder: Path, *options: str) -> None:
    """Copy an image into a folder with skopeo, which checks the server's certificate."""
    source = ["--src-tls-verify=false"]
    if server.scheme == "https":
        trusted = folder.parent / "trusted"
        trusted.mkdir(exist_ok=True)
        (trusted / "ca.crt").write_bytes((certificates / "ca.crt").read_bytes())
        source = ["--src-tls-verify=true", "--src-cert-dir", str(trusted)]
    tool(
        *("skopeo", "--insecure-policy", "--override-os=linux", "--override-arch=amd64", "copy"),
        *("--quiet", "--preserve-digests", *source, *options),
        *(f"docker://{name}", f"dir:{folder}"),
    )


def folder_contents(folder: Path) -> dict[str, bytes]:
    """Return what a folder of skopeo holds, by digest: a name must be that of the content."""
    found: dict[str, bytes] = {}
    for path in folder.iterdir():
        if path.name == "version":
            continue
        data = path.read_bytes()
        name = path.name.removesuffix(".manifest.json")
        assert name in ("manifest.json", sha256(data))
        found |= by_digest(data)
    return found


def test_skopeo_copies_every_image(
    server: Server, pullable: PullableCache, certificates: Path, tmp_path: Path
) -> None:
    for number, image in enumerate(pullable.images):
        for name in names_at(server, image):
            folder = tmp_path / f"{number}-{'@' in name}"
            all_platforms = ("--all",) if is_complete(image) else ()
            skopeo(server, certificates, name, folder, *all_platforms)
            assert folder_contents(folder) == wanted(image)


def test_skopeo_lists_the_tags(server: Server, certificates: Path, pullable: PullableCache) -> None:
    image = pullable.images[0]
    told = tool(
        *("skopeo", "list-tags", "--tls-verify=false"),
        f"docker://{server.address}/{image.repository}",
    )
    assert json.loads(told)["Tags"] == [image.tag]


def crane(
    server: Server, certificates: Path, *args: str | Path
) -> subprocess.CompletedProcess[bytes]:
    """Run crane, which trusts the server's authority alone."""
    trusted = certificates / "ca.crt" if server.scheme == "https" else "/dev/null"
    return subprocess.run(
        [crane_program(), *args],
        env={**os.environ, "SSL_CERT_FILE": str(trusted), "SSL_CERT_DIR": "/nonexistent"},
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )


def layout_contents(layout: Path) -> dict[str, bytes]:
    """Return the blobs of an OCI layout, by the digests that their names say."""
    blobs = layout / "blobs" / "sha256"
    return {f"sha256:{path.name}": path.read_bytes() for path in blobs.iterdir()}


def test_crane_pulls_every_image(
    server: Server, pullable: PullableCache, certificates: Path, tmp_path: Path
) -> None:
    for number, image in enumerate(pullable.images):
        for name in names_at(server, image):
            layout = tmp_path / f"{number}-{'@' in name}"
            platform = () if is_complete(image) else PLATFORM
            done = crane(server, certificates, "pull", "--format=oci", *platform, name, layout)
            assert done.returncode == 0, done.stderr
            assert layout_contents(layout) == wanted(image)


def test_crane_copies_every_image_to_another_registry(
    server: Server, pullable: PullableCache, certificates: Path, tmp_path: Path
) -> None:
    with running_registry(tmp_path / "registry") as registry:
        for image in pullable.images:
            platform = () if is_complete(image) else PLATFORM
            name = names_at(server, image)[0]
            target = f"{registry.host}/{image.repository}:copied"
            done = crane(server, certificates, "copy", *platform, name, target)
            assert done.returncode == 0, done.stderr
            root = image.root if is_complete(image) else image.manifests[0].data
            assert crane(server, certificates, "manifest", target).stdout == root
            for digest, data in wanted(image).items():
                kind = "manifest" if b'"mediaType"' in data else "blob"
                copied = f"{registry.host}/{image.repository}@{digest}"
                assert crane(server, certificates, kind, copied).stdout == data


def test_crane_sees_what_the_cache_has(
    server: Server, pullable: PullableCache, certificates: Path
) -> None:
    for image in pullable.images:
        for name in names_at(server, image):
            assert crane(server, certificates, "manifest", name).stdout == image.root
            assert crane(server, certificates, "digest", name).stdout.decode() == (
                f"{image.digest}\n"
            )
    done = crane(server, certificates, "ls", f"{server.address}/{pullable.images[0].repository}")
    assert done.stdout.decode() == f"{pullable.images[0].tag}\n"


def test_what_is_not_there_or_not_trusted_fails(
    server: Server, pullable: PullableCache, certificates: Path, tmp_path: Path
) -> None:
    repository = pullable.images[0].repository
    for name in (f"{repository}:none", f"{repository}@sha256:{'0' * 64}", "team/none:v1"):
        absent = f"{server.address}/{name}"
        done = crane(server, certificates, "manifest", absent)
        assert done.returncode != 0
        assert b"UNKNOWN" in done.stderr
        tool("skopeo", "inspect", "--tls-verify=false", f"docker://{absent}", status=1)
    if server.scheme == "https":
        (tmp_path / "ca.crt").write_text("")
        done = crane(server, tmp_path, "manifest", names_at(server, pullable.images[0])[0])
        assert done.returncode != 0
        assert b"certificate" in done.stderr
        said = tool("skopeo", "inspect", f"docker://{server.address}/{repository}:3.20", status=1)
        assert "certificate" in said
