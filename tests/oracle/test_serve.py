"""`imager images cache-serve`: what is served under which path, by FORMATS.md and the OCI spec."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lib.caches.caches import (
    INDEX_TYPE,
    MANIFEST_TYPE,
    CacheFixture,
    descriptor,
    dump,
    image_manifest,
    make_flat,
    make_layout,
    make_tar,
    sha256,
)
from tests.lib.caches.sources import SOURCES
from tests.lib.caches.tars import make_archive
from tests.lib.registries.serving import TIMEOUT, Server, read_all, serving, stop
from tests.lib.servers.loopback import free_port
from tests.lib.tools.cli import run

REPO = "/v2/team/img0"
NS = "?ns=registry.local:5000"


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    """Return a cache of three images for two platforms."""
    folder = tmp_path_factory.mktemp("serve") / "flat"
    return make_flat(folder, blob_size=300_000, arches=("amd64", "arm64"))


@pytest.fixture(scope="module", params=["flat", "layout", "tar"])
def server(
    request: pytest.FixtureRequest, flat: CacheFixture, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Return a server of the cache, packed each way there is."""
    folder = tmp_path_factory.mktemp("packed")
    match request.param:
        case "flat":
            path = flat.folder
        case "layout":
            path = make_layout(flat, folder / "layout", platforms=("amd64", "arm64"))
        case _:
            path = make_tar(flat, folder / "cache.tar")
    with serving(path) as running:
        yield running


@pytest.fixture(scope="module")
def one(flat: CacheFixture) -> Iterator[Server]:
    """Return a server of the flat cache."""
    with serving(flat.folder) as running:
        yield running


def blob_of(flat: CacheFixture, number: int = -1) -> tuple[str, bytes]:
    """Return a blob's digest and its bytes: the largest of one image, or another."""
    path = sorted(flat.blobs, key=lambda path: (path.stat().st_size, path))[number]
    return path.name.replace("-", ":"), path.read_bytes()


def index_of(flat: CacheFixture, number: int = 0) -> bytes:
    """Return the bytes behind the tag v1 of an image."""
    base = flat.folder / "manifests/registry.local_5000_/team" / f"img{number}"
    return (base / "reference/v1").read_bytes()


def code_of(data: bytes) -> str:
    """Return the code of an error document, which must be as the specification has it."""
    document = json.loads(data)
    assert set(document) == {"errors"}
    (error,) = document["errors"]
    assert set(error) == {"code", "message"}
    return str(error["code"])


def test_every_file_is_served_as_it_is(server: Server, flat: CacheFixture) -> None:
    for path, data in flat.files.items():
        kind, *rest = path.split("/")
        if kind == "blob":
            target, media_type = f"blobs/{rest[0].replace('-', ':')}", "application/octet-stream"
            name = "team/img0"
        else:
            name = "/".join(rest[1:-2])
            target = f"manifests/{rest[-1].replace('sha256-', 'sha256:')}"
            media_type = json.loads(data)["mediaType"]
        for query in ("", NS):
            found = server.ask(f"/v2/{name}/{target}{query}")
            assert (found.status, found.data) == (200, data), path
            assert found.headers["Content-Type"] == media_type
            assert found.headers["Docker-Content-Digest"] == f"sha256:{sha256(data)}"
            assert found.headers["Content-Length"] == str(len(data))
            head = server.ask(f"/v2/{name}/{target}{query}", "HEAD")
            assert (head.status, head.data) == (200, b"")
            assert head.headers["Content-Length"] == str(len(data))
            assert head.headers["Docker-Content-Digest"] == f"sha256:{sha256(data)}"


def test_the_registry_says_what_it_is(one: Server) -> None:
    for path in ("/v2/", "/v2", "/healthz", "/healthz/"):
        for method in ("GET", "HEAD"):
            found = one.ask(path, method)
            assert found.status == 200
            assert found.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert one.ask("/v2/").data == b"{}"


def test_a_port_may_be_encoded_in_the_namespace(one: Server, flat: CacheFixture) -> None:
    found = one.ask(f"{REPO}/manifests/v1?ns=registry.local%3A5000")
    assert found.data == index_of(flat)


def test_a_digest_may_have_an_encoded_colon(one: Server, flat: CacheFixture) -> None:
    digest, data = blob_of(flat)
    assert one.ask(f"{REPO}/blobs/{digest.replace(':', '%3A')}").data == data


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{REPO}/manifests/v2{NS}", "MANIFEST_UNKNOWN"),
        (f"{REPO}/manifests/v1?ns=registry.local", "NAME_UNKNOWN"),
        (f"{REPO}/manifests/v1?ns=", "NAME_UNKNOWN"),
        (f"{REPO}/manifests/sha256:{'0' * 64}", "MANIFEST_UNKNOWN"),
        (f"{REPO}/manifests/sha256:totallywrong", "DIGEST_INVALID"),
        (f"{REPO}/manifests/sha512:{'0' * 128}", "DIGEST_INVALID"),
        (f"{REPO}/manifests/.v1", "DIGEST_INVALID"),
        ("/v2/team/other/manifests/v1", "NAME_UNKNOWN"),
        ("/v2/team/other/tags/list", "NAME_UNKNOWN"),
        ("/v2/Team/manifests/v1", "NAME_INVALID"),
        ("/v2/team%2fimg0/manifests/v1", "NAME_INVALID"),
        ("/v2/team//img0/manifests/v1", "NAME_INVALID"),
        (f"/v2/{'a' * 300}/manifests/v1", "NAME_INVALID"),
        (f"{REPO}/blobs/sha256:{'0' * 64}", "BLOB_UNKNOWN"),
        (f"{REPO}/blobs/sha256:{'A' * 64}", "DIGEST_INVALID"),
        (f"{REPO}/blobs/md5:{'0' * 32}", "DIGEST_INVALID"),
        (f"{REPO}/blobs/", "DIGEST_INVALID"),
        (f"{REPO}/referrers/latest", "DIGEST_INVALID"),
        (f"{REPO}/tags/all", "UNSUPPORTED"),
        (f"{REPO}/blobs/uploads/", "UNSUPPORTED"),
        ("/v2/manifests/v1", "UNSUPPORTED"),
        ("/v1/", "UNSUPPORTED"),
        ("/", "UNSUPPORTED"),
        ("/healthz/x", "UNSUPPORTED"),
        ("/blob/", "UNSUPPORTED"),
    ],
)
def test_what_is_not_there_is_404_with_a_reason(one: Server, path: str, code: str) -> None:
    found = one.ask(path)
    assert (found.status, code_of(found.data)) == (404, code)
    assert found.headers["Content-Type"] == "application/json"
    head = one.ask(path, "HEAD")
    assert (head.status, head.data) == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"])
@pytest.mark.parametrize("path", ["/v2/", f"{REPO}/manifests/v1", f"{REPO}/blobs/uploads/"])
def test_nothing_can_be_changed(one: Server, method: str, path: str) -> None:
    found = one.ask(path, method)
    assert (found.status, code_of(found.data)) == (405, "UNSUPPORTED")
    assert found.headers["Allow"] == "GET, HEAD"


def test_ranges_of_blobs(server: Server, flat: CacheFixture) -> None:
    digest, data = blob_of(flat)
    size, path = len(data), f"{REPO}/blobs/{digest}"
    for text, start, end in [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        (f"bytes={size - 3}-", size - 3, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=-{size + 9}", 0, size),
        (f"bytes=100-{size + 100}", 100, size),
        ("BYTES=1-2", 1, 3),
    ]:
        found = server.ask(path, headers={"Range": text})
        assert (found.status, found.data) == (206, data[start:end]), text
        assert found.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
    for text in (f"bytes={size}-", "bytes=-0", f"bytes={size + 5}-{size + 9}"):
        found = server.ask(path, headers={"Range": text})
        assert (found.status, found.data) == (416, b""), text
        assert found.headers["Content-Range"] == f"bytes */{size}"
    # What is no range of bytes does not count, nor do several at once (RFC 9110, 14.2).
    for text in ("bytes=9-5", "lines=1-2", "bytes=", "bytes=-", "bytes=0-1,4-5", "bytes=a-b"):
        found = server.ask(path, headers={"Range": text})
        assert (found.status, found.data) == (200, data), text
    head = server.ask(path, "HEAD", {"Range": "bytes=5-9"})
    assert (head.status, head.headers["Content-Length"]) == (200, str(size))


def test_ranges_join_to_the_blob(one: Server, flat: CacheFixture) -> None:
    digest, data = blob_of(flat)
    step = 70_001
    pieces = [
        one.ask(f"{REPO}/blobs/{digest}", headers={"Range": f"bytes={at}-{at + step - 1}"}).data
        for at in range(0, len(data), step)
    ]
    assert b"".join(pieces) == data


def test_conditional_requests(one: Server, flat: CacheFixture) -> None:
    digest, data = blob_of(flat)
    for path, tag, body in (
        (f"{REPO}/blobs/{digest}", f'"{digest}"', data),
        (f"{REPO}/manifests/v1", f'"sha256:{sha256(index_of(flat))}"', index_of(flat)),
    ):
        assert one.ask(path).headers["ETag"] == tag
        for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            found = one.ask(path, headers={"If-None-Match": held})
            assert (found.status, found.data) == (304, b""), held
            assert found.headers["ETag"] == tag
        assert one.ask(path, headers={"If-None-Match": '"other"'}).data == body
        assert one.ask(path, headers={"If-Match": '"other"'}).status == 412
        assert one.ask(path, headers={"If-Match": f"W/{tag}"}).status == 412
        assert one.ask(path, headers={"If-Match": tag}).data == body
        fresh = one.ask(path, headers={"Range": "bytes=2-3", "If-Range": tag})
        assert (fresh.status, fresh.data) == (206, body[2:4])
        stale = one.ask(path, headers={"Range": "bytes=2-3", "If-Range": '"other"'})
        assert (stale.status, stale.data) == (200, body)


def tagged(folder: Path, name: str, tags: list[str], *, manifest: bytes | None = None) -> bytes:
    """Make a flat tree of an image under several tags; return its manifest."""
    data = manifest or image_manifest(b"{}", [])
    base = folder / "manifests" / name
    for path in (f"digest/sha256-{sha256(data)}", *(f"reference/{tag}" for tag in tags)):
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_bytes(data)
    (folder / "blob").mkdir(exist_ok=True)
    (folder / "blob" / f"sha256-{sha256(b'{}')}").write_bytes(b"{}")
    return data


def test_tags_come_in_pages(tmp_path: Path) -> None:
    tags = ["v10", "v2", "latest", "V1", "edge"]
    tagged(tmp_path / "flat", "quay.io/a/b", tags)
    ordered = sorted(tags)
    with serving(tmp_path / "flat") as server:
        assert json.loads(server.ask("/v2/a/b/tags/list").data) == {"name": "a/b", "tags": ordered}
        found, path = [], "/v2/a/b/tags/list?n=2&ns=quay.io"
        while path:
            page = server.ask(path)
            found.append(json.loads(page.data)["tags"])
            link = page.headers.get("Link", "")
            assert not link or link.endswith('>; rel="next"')
            path = link.partition("<")[2].partition(">")[0]
        assert found == [ordered[:2], ordered[2:4], ordered[4:]]
        assert json.loads(server.ask("/v2/a/b/tags/list?n=0").data)["tags"] == []
        assert json.loads(server.ask("/v2/a/b/tags/list?last=edge").data)["tags"] == ordered[2:]
        wrong = server.ask("/v2/a/b/tags/list?n=-1")
        assert (wrong.status, code_of(wrong.data)) == (400, "PAGINATION_NUMBER_INVALID")


def test_the_catalog_has_every_repository(server: Server) -> None:
    names = [f"team/img{number}" for number in range(3)]
    full = [f"registry.local:5000/{name}" for name in names]
    assert json.loads(server.ask("/v2/_catalog").data) == {"repositories": full}
    assert json.loads(server.ask(f"/v2/_catalog{NS}").data) == {"repositories": names}
    assert json.loads(server.ask("/v2/_catalog?n=1").data) == {"repositories": full[:1]}
    assert json.loads(server.ask("/v2/_catalog?ns=quay.io").data) == {"repositories": []}


def test_without_a_namespace_any_registry_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    hub = tagged(folder, "docker.io/library/alpine", ["3"])
    own = tagged(folder, "quay.io/team/app", ["1"], manifest=hub + b"\n")
    with serving(folder) as server:
        assert server.ask("/v2/team/app/manifests/1").data == own
        assert server.ask("/v2/library/alpine/manifests/3").data == hub
        # As people write it, and by the full name.
        assert server.ask("/v2/alpine/manifests/3").data == hub
        assert server.ask("/v2/quay.io/team/app/manifests/1").data == own
        assert server.ask("/v2/docker.io/library/alpine/manifests/3").data == hub
        for namespace in ("docker.io", "index.docker.io", "registry-1.docker.io"):
            assert server.ask(f"/v2/library/alpine/manifests/3?ns={namespace}").data == hub
        assert server.ask("/v2/team/app/manifests/1?ns=docker.io").status == 404


def test_roots_are_asked_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    newer = tagged(first, "quay.io/team/app", ["1"])
    older = tagged(second, "quay.io/team/app", ["1", "0"], manifest=newer + b"\n")
    for roots, wanted in (((first, second), newer), ((second, first), older)):
        with serving(*roots) as server:
            assert server.ask("/v2/team/app/manifests/1").data == wanted
            assert server.ask("/v2/team/app/manifests/0").data == older
            assert json.loads(server.ask("/v2/team/app/tags/list").data)["tags"] == ["0", "1"]
            for data in (newer, older):
                assert server.ask(f"/v2/team/app/manifests/sha256:{sha256(data)}").data == data


def test_referrers(tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    image = tagged(folder, "quay.io/team/app", ["1"])
    artifact: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": "application/x.sbom",
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [],
        "subject": descriptor(MANIFEST_TYPE, image),
        "annotations": {"made": "by hand"},
    }
    sbom = tagged(folder, "quay.io/team/app", ["sbom"], manifest=dump(artifact))
    del artifact["artifactType"], artifact["annotations"]
    other = tagged(folder, "quay.io/team/app", ["other"], manifest=dump(artifact))
    path = f"/v2/team/app/referrers/sha256:{sha256(image)}"
    entries = [
        descriptor(
            MANIFEST_TYPE,
            sbom,
            artifactType="application/x.sbom",
            annotations={"made": "by hand"},
        ),
        descriptor(MANIFEST_TYPE, other, artifactType="application/vnd.oci.empty.v1+json"),
    ]
    with serving(folder) as server:
        found = server.ask(path)
        assert found.headers["Content-Type"] == INDEX_TYPE
        document = json.loads(found.data)
        assert document["mediaType"] == INDEX_TYPE
        assert document["manifests"] == sorted(entries, key=lambda entry: str(entry["digest"]))
        filtered = server.ask(f"{path}?artifactType=application%2Fx.sbom")
        assert json.loads(filtered.data)["manifests"] == entries[:1]
        assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
        none = server.ask(f"/v2/team/app/referrers/sha256:{sha256(sbom)}")
        assert (none.status, json.loads(none.data)["manifests"]) == (200, [])


def test_the_access_log_tells_of_every_request(one: Server, flat: CacheFixture) -> None:
    digest, data = blob_of(flat)
    one.ask(f"{REPO}/blobs/{digest}{NS}", headers={"User-Agent": "te\u00dft/1 \\u001b"})
    one.ask(f"{REPO}/manifests/gone", "HEAD")
    one.wait_for("/manifests/gone")
    sent, refused = one.requests()[-2:]
    assert sent["target"] == f"{REPO}/blobs/{digest}{NS}"
    assert (sent["method"], sent["status"], sent["bytes"]) == ("GET", 200, len(data))
    assert sent["client"] == "127.0.0.1"
    assert sent["problem"] == ""
    assert (refused["method"], refused["status"], refused["bytes"]) == ("HEAD", 404, 0)
    assert "team/img0:gone" in refused["problem"]


def test_a_line_of_the_log_cannot_be_forged(flat: CacheFixture) -> None:
    with serving(flat.folder, style="plain") as server:
        answer = server.send(
            b"GET /v2/%0a%1b[31m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b'User-Agent: "a" 200 \xc2\x9b31m\r\n\r\n'
        )
        assert answer.startswith(b"HTTP/1.1 404 ")
        # What aiohttp itself refuses is told as well.
        refused = server.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: \x1b[31mred\r\n\r\n")
        assert refused.startswith(b"HTTP/1.0 400 ")
        server.wait_for("Error handling request")
        lines = server.log.read_text().splitlines()
    assert all(line.isprintable() for line in lines)
    (line,) = [line for line in lines if "GET /v2" in line]
    assert line.split()[3:5] == ["/v2/%0a%1b[31m", "404"]
    assert r'"\"a\" 200 \u009b31m"' in line


@pytest.mark.parametrize("source", ["tar.gz", "tar.zst", "layout-gzip", "archive.zst-zstd"])
def test_what_is_compressed_is_served(flat: CacheFixture, tmp_path: Path, source: str) -> None:
    digest, data = blob_of(flat)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with serving(SOURCES[source](flat, tmp_path), env={"TMPDIR": str(scratch)}) as server:
        assert server.ask(f"{REPO}/manifests/v1").data == index_of(flat)
        assert server.ask(f"{REPO}/blobs/{digest}").data == data
        answer = server.ask(f"{REPO}/blobs/{digest}", headers={"Range": "bytes=1000-1999"})
        assert (answer.status, answer.data) == (206, data[1000:2000])
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_an_archive_is_served_and_may_be_replaced(
    flat: CacheFixture, tmp_path: Path, codec: str | None
) -> None:
    path = make_archive(flat, tmp_path / "cache.tar", layout=True, prefix="cache/", codec=codec)
    digest, data = blob_of(flat)
    with serving(path) as server:
        assert server.ask(f"{REPO}/manifests/v1").data == index_of(flat)
        answer = server.ask(f"{REPO}/blobs/{digest}", headers={"Range": "bytes=1000-1999"})
        assert (answer.status, answer.data) == (206, data[1000:2000])
        one = make_flat(tmp_path / "one", images=1, blob_size=300_000)
        make_archive(one, tmp_path / "new.tar", layout=True, codec=codec).replace(path)
        deadline = time.monotonic() + 60
        while server.ask(f"{REPO.replace('img0', 'img1')}/manifests/v1").status != 404:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ((), 2, "there is no cache to serve"),
        (("{missing}",), 2, "does not exist"),
        (("{missing}", "{other}"), 2, "2 caches failed"),
        (("{flat}", "--address", "nowhere"), 2, "is not an address"),
        (("{flat}", "--address", "127.0.0.1:70000"), 2, "is not an address"),
        (("{flat}", "--address", "::1:80"), 2, "is not an address"),
        (("{flat}", "--address", "192.0.2.1:3172"), 4, "ip address"),
        (("{flat}", "--tls-cert-file", "x.pem"), 2, "must be given together"),
        (("{flat}", "--tls-cert-file", "x.pem", "--tls-key-file", "y.pem"), 2, "cannot serve TLS"),
    ],
)
def test_what_cannot_be_served(
    flat: CacheFixture, tmp_path: Path, args: tuple[str, ...], code: int, words: str
) -> None:
    places = {"flat": flat.folder, "missing": tmp_path / "no", "other": tmp_path / "none"}
    done = run("images", "cache-serve", *(arg.format(**places) for arg in args), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken(flat: CacheFixture, one: Server) -> None:
    done = run("images", "cache-serve", flat.folder, "--address", one.address)
    assert done.returncode == 4
    assert f"cannot listen on {one.address}" in done.stderr
    assert "--address" in done.stderr


def test_ipv6_and_every_address(flat: CacheFixture) -> None:
    with serving(flat.folder, address="[::1]:0") as server:
        connection = socket.create_connection(("::1", server.port), timeout=TIMEOUT)
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in read_all(connection)
        connection.close()
    port = free_port()
    with serving(flat.folder, address=f":{port}") as server:
        assert server.ask("/healthz").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(flat: CacheFixture, number: int) -> None:
    with serving(flat.folder) as server:
        idle = server.connect()
        server.process.send_signal(number)
        assert server.process.wait(timeout=TIMEOUT) == 0
        assert idle.recv(1) == b""
        idle.close()
        assert server.texts("step")[-1] == "shutting down"


def test_what_is_being_sent_is_sent_to_its_end(tmp_path: Path) -> None:
    flat = make_flat(tmp_path / "flat", images=1, layers=1, blob_size=60_000_000)
    digest, data = blob_of(flat)
    with serving(flat.folder) as server, server.connect() as connection:
        connection.sendall(f"GET {REPO}/blobs/{digest} HTTP/1.0\r\n\r\n".encode())
        first = connection.recv(1000)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("shutting down")
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        rest = bytearray(first)
        while piece := connection.recv(1 << 20):
            rest += piece
        assert bytes(rest).partition(b"\r\n\r\n")[2] == data
        assert stop(server.process) == 0


def test_systemd_is_told(flat: CacheFixture, tmp_path: Path) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(place))
        channel.settimeout(TIMEOUT)
        with serving(flat.folder, env={"NOTIFY_SOCKET": str(place)}) as server:
            assert channel.recv(1000).decode().split("\n")[0] == "READY=1"
            stop(server.process)
            assert channel.recv(1000) == b"STOPPING=1"
    name = f"\0imager-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(name)
        channel.settimeout(TIMEOUT)
        with serving(flat.folder, env={"NOTIFY_SOCKET": f"@{name[1:]}"}):
            assert channel.recv(1000).startswith(b"READY=1")
