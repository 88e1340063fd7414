"""`imager images cache-push` to Debian's docker-registry, over connections that break."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.caches.caches import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    descriptor,
    dump,
    layout_blobs,
    make_flat,
    make_layout,
)
from tests.lib.proxies.programmable import Proxy, running_proxy
from tests.lib.registries.registry import (
    RunningRegistry,
    make_certificate,
    make_htpasswd,
    running_registry,
)
from tests.lib.servers.faults import RIGHT, CutUpload, Hold
from tests.lib.servers.rules import Where
from tests.lib.tools import cli

pytestmark = pytest.mark.oracle

MIB = 1 << 20
CHUNK = ("--chunk-size", "1MiB")
PEAK = 150 * MIB
PATCH = Where("PATCH")


@pytest.fixture
def proxy(registry: RunningRegistry) -> Iterator[Proxy]:
    with running_proxy(registry.host) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A cache of 6 MiB in a layout; its blobs' sizes differ from test to test."""
    size = 1_000_000 + int(hashlib.sha256(request.node.name.encode()).hexdigest()[:4], 16)
    return make_layout(make_flat(tmp_path / "flat", blob_size=size), tmp_path / "cache")


def push(cache: Path, reference: str, *options: str) -> str:
    done = cli.run("images", "cache-push", cache, reference, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def methods(proxy: Proxy) -> list[str]:
    return [each.method for each in proxy.log.asked]


def ask(host: str, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def check_pushed(registry: RunningRegistry, repository: str, cache: Path) -> None:
    """Check that the registry serves the layout's blobs under the tag v1."""
    blobs = layout_blobs(cache)
    manifest = blobs["manifest"].read_bytes()
    kind = {"Accept": MANIFEST_TYPE}
    connection = http.client.HTTPConnection(registry.host, timeout=60)
    connection.request("GET", f"/v2/{repository}/manifests/v1", headers=kind)
    assert connection.getresponse().read() == manifest
    connection.close()
    for name in ("config", "layer"):
        served = ask(registry.host, "GET", f"/v2/{repository}/blobs/sha256:{blobs[name].name}")
        assert served == (200, blobs[name].read_bytes())


def test_what_is_there_is_not_sent_twice(
    registry: RunningRegistry, proxy: Proxy, cache: Path
) -> None:
    name = f"{proxy.host}/twice/cache"
    size = sum(layout_blobs(cache)[blob].stat().st_size for blob in ("config", "layer"))
    first = push(cache, f"{name}:v1", *CHUNK)
    digest = f"sha256:{layout_blobs(cache)['manifest'].name}"
    assert first == f"{name}:v1@{digest}\n  2 blobs sent ({size} bytes)\n"
    assert "PATCH" in methods(proxy)
    check_pushed(registry, "twice/cache", cache)
    proxy.log.clear()
    again = push(cache, f"{name}:v2", *CHUNK)
    assert f"0 blobs sent (0 bytes), 2 blobs already present ({size} bytes)" in again
    assert sorted(methods(proxy)) == ["HEAD", "HEAD", "PUT"]
    assert proxy.log.lines[-1] == "PUT /v2/twice/cache/manifests/v2"


@pytest.mark.parametrize("registry_named", [False, True])
def test_a_mount_sends_nothing(
    registry: RunningRegistry, proxy: Proxy, cache: Path, registry_named: bool
) -> None:
    team = f"mount-{registry_named}".lower()
    push(cache, f"{proxy.host}/{team}/one:v1")
    proxy.log.clear()
    origin = f"{proxy.host}/{team}/one" if registry_named else f"{team}/one"
    said = push(cache, f"{proxy.host}/{team}/two:v1", "--mount-from", origin)
    assert "0 blobs sent (0 bytes), 2 blobs mounted" in said
    assert sorted(methods(proxy)) == ["HEAD", "HEAD", "POST", "POST", "PUT"]
    posts = [each for each in proxy.log.requests if each.method == "POST"]
    assert all(each.query["from"] == [f"{team}/one"] for each in posts)
    check_pushed(registry, f"{team}/two", cache)
    # Where the other repository has nothing, all is sent.
    said = push(cache, f"{proxy.host}/{team}/three:v1", "--mount-from", f"{team}/none", *CHUNK)
    assert "2 blobs sent" in said
    check_pushed(registry, f"{team}/three", cache)


def test_a_connection_cut_before_a_chunk_goes_on(
    registry: RunningRegistry, proxy: Proxy, cache: Path
) -> None:
    proxy.fault(PATCH, RIGHT, RIGHT, CutUpload(0), RIGHT, CutUpload(0))
    push(cache, f"{proxy.host}/cut/before:v1", *CHUNK)
    check_pushed(registry, "cut/before", cache)
    chunks = -(-layout_blobs(cache)["layer"].stat().st_size // MIB)
    # One for the configuration, one for the layer: its session went on.
    assert methods(proxy).count("POST") == 2
    assert methods(proxy).count("PATCH") == chunks + 2


def test_a_connection_cut_in_a_chunk_begins_anew(
    registry: RunningRegistry, proxy: Proxy, cache: Path
) -> None:
    """This registry gives up an upload whose state it did not hand out."""
    proxy.fault(PATCH, RIGHT, RIGHT, CutUpload(MIB // 3))
    push(cache, f"{proxy.host}/cut/inside:v1", *CHUNK)
    check_pushed(registry, "cut/inside", cache)
    assert methods(proxy).count("POST") == 3


def test_a_whole_blob_that_is_cut_is_sent_again(
    registry: RunningRegistry, proxy: Proxy, cache: Path
) -> None:
    layer = layout_blobs(cache)["layer"]
    assert layer.stat().st_size > 3 * MIB
    proxy.fault(Where("PUT", word=f"digest=sha256%3A{layer.name}"), CutUpload(3 * MIB))
    push(cache, f"{proxy.host}/cut/whole:v1", "--chunk-size", "0")
    sent = [each for each in proxy.log.about(layer.name) if each.method == "PUT"]
    assert [len(each.body) for each in sent] == [3 * MIB, layer.stat().st_size]
    assert "PATCH" not in methods(proxy)
    check_pushed(registry, "cut/whole", cache)


def test_a_run_that_is_killed_leaves_no_tag(
    registry: RunningRegistry, proxy: Proxy, cache: Path
) -> None:
    started, killed = threading.Event(), threading.Event()
    proxy.always(PATCH, Hold(started, killed))
    argv = ("images", "cache-push", cache, f"{proxy.host}/killed/cache:v1", *CHUNK)
    process = subprocess.Popen([*cli.IMAGER, *argv], env=cli.environment())
    assert started.wait(30)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    killed.set()
    assert ask(registry.host, "GET", "/v2/killed/cache/manifests/v1")[0] == 404
    status, tags = ask(registry.host, "GET", "/v2/killed/cache/tags/list")
    assert status == 404 or json.loads(tags)["tags"] is None
    push(cache, f"{registry.host}/killed/cache:v1")
    check_pushed(registry, "killed/cache", cache)


def test_a_login(tmp_path: Path, cache: Path) -> None:
    passwords = make_htpasswd(tmp_path / "htpasswd", user="someone", password="secret")
    with running_registry(tmp_path / "registry", htpasswd=passwords) as registry:
        name = f"{registry.host}/a/b:v1"

        def attempt(password: str) -> cli.Completed:
            (tmp_path / "docker").mkdir(exist_ok=True)
            entry = {"username": "someone", "password": password}
            (tmp_path / "docker/config.json").write_text(
                json.dumps({"auths": {registry.host: entry}})
            )
            env = {"DOCKER_CONFIG": str(tmp_path / "docker")}
            return cli.run("images", "cache-push", cache, name, *CHUNK, env=env)

        refused = attempt("wrong")
        assert refused.returncode == 2
        assert f"hint: check the image's name, or log in with: docker login {registry.host}" in (
            refused.stderr
        )
        assert "Traceback" not in refused.stderr
        done = attempt("secret")
        assert (done.returncode, done.stderr.count("\n")) == (0, 0)


def test_tls(tmp_path: Path, cache: Path) -> None:
    certificate = make_certificate(tmp_path)
    with running_registry(tmp_path / "registry", certificate=certificate) as registry:
        name = f"{registry.host}/a/b:v1"
        done = cli.run("images", "cache-push", cache, name, *CHUNK)
        assert done.returncode == 5
        assert "certificate is not trusted" in done.stderr
        said = push(cache, name, "--insecure", *CHUNK)
        digest = f"sha256:{layout_blobs(cache)['manifest'].name}"
        assert said.startswith(f"{name}@{digest}\n")
        inspected = cli.tool("skopeo", "inspect", "--tls-verify=false", f"docker://{name}")
        assert json.loads(inspected)["Digest"] == digest


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("alpine", "the registry is missing"),
        ("127.0.0.1:1/a/b", "the tag or digest is missing"),
        (f"127.0.0.1:1/a/b@sha256:{'0' * 64}", "its digest is sha256:"),
    ],
)
def test_references_that_cannot_be(cache: Path, reference: str, words: str) -> None:
    done = cli.run("images", "cache-push", cache, reference)
    assert done.returncode == 2
    assert words in done.stderr


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        done = cli.run("images", "cache-push", path, "127.0.0.1:1/a/b:v1")
        assert done.returncode == 2
        assert "image cache" in done.stderr


def sparse_layout(folder: Path, size: int) -> Path:
    """Make a layout whose layer is `size` zeros that take no space: it is not looked into."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    layer = folder / "layer"
    with layer.open("wb") as file:
        file.truncate(size)
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    layer.rename(blobs / digest)
    config = dump({"architecture": "amd64", "os": "linux"})
    manifest = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [
                {"mediaType": f"{LAYER_TYPE}+gzip", "digest": f"sha256:{digest}", "size": size}
            ],
        }
    )
    for data in (config, manifest):
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    entry = descriptor(MANIFEST_TYPE, manifest)
    (folder / "index.json").write_bytes(dump({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_bytes(dump({"imageLayoutVersion": "1.0.0"}))
    return folder


@pytest.mark.parametrize("chunk", ["0", "256MiB"])
def test_memory_does_not_grow_with_the_layer(tmp_path: Path, chunk: str) -> None:
    cache = sparse_layout(tmp_path / "cache", 288 * MIB)
    with running_registry(tmp_path / "registry") as registry:
        argv = ("images", "cache-push", cache, f"{registry.host}/a/b:v1", "--chunk-size", chunk)
        assert cli.peak_memory(*argv) < PEAK
