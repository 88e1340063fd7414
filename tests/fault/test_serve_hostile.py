"""The registry server, and clients and files that mean it harm."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lib.caches.caches import CacheFixture, make_flat, make_layout, make_tar
from tests.lib.registries.serving import TIMEOUT, Server, read_all, serving
from tests.lib.tools.cli import MIB

REPO = "/v2/team/img0"
LARGE = 40 * MIB


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> CacheFixture:
    """Return a cache with a blob that no socket's buffers hold."""
    folder = tmp_path_factory.mktemp("large") / "flat"
    return make_flat(folder, images=1, layers=1, blob_size=LARGE)


@pytest.fixture
def flat(tmp_path: Path) -> CacheFixture:
    """Return a cache that a test may damage."""
    return make_flat(tmp_path / "site" / "flat", images=2, blob_size=200_000)


def digest_of(path: Path) -> str:
    return path.name.replace("-", ":")


def largest(cache: CacheFixture) -> Path:
    return max(cache.blobs, key=lambda path: (path.stat().st_size, path))


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Let the test itself have thousands of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- requests -----------------------------------------------------------------------------------


OUTSIDE = (
    "/../hidden-file",
    "/v2/../hidden-file",
    "/v2/../../hidden-file",
    "/v2/x/blobs/../../hidden-file",
    "/v2/x/blobs/..%2f..%2fhidden-file",
    "/v2/x/manifests/..%2f..%2f..%2f..%2fhidden-file",
    "/v2/%2e%2e/%2e%2e/manifests/hidden-file",
    "/v2/..%5c..%5chidden-file/manifests/v1",
    "/v2/team/img0/manifests/v1%00",
    "/v2/team/img0/manifests/%2fetc%2fpasswd",
    "/v2//etc/passwd",
    "/v2/x/blobs//etc/passwd",
    "/v2/x/blobs/sha256:..%2f..%2fhidden-file",
    "/v2/%ff%fe/manifests/v1",
    "/v2/%/manifests/%zz",
    "/v2/team/img0/manifests/v1?ns=../../..&ns=%2e%2e",
    "/v2/img0/manifests/v1?ns=registry.local:5000/team",
    "/blob/" + "sha256-" + "0" * 64,
    "/v2/\u0430\u0431/manifests/v1",
    "http://127.0.0.1/../hidden-file",
)


def test_no_path_leads_out(flat: CacheFixture) -> None:
    hidden = flat.folder.parent / "hidden-file"
    hidden.write_text("do not tell")
    trace = flat.folder.parent / "trace"
    strace = ("strace", "-D", "-f", "-e", "trace=open,openat,openat2", "-o", trace)
    with serving(flat.folder, prefix=strace) as server:
        for target in OUTSIDE:
            line = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            answer = server.send(line.encode())
            assert re.match(rb"HTTP/1.[01] (404|400) ", answer), target
            assert b"do not tell" not in answer
            assert b"root:" not in answer
        assert server.ask(f"{REPO}/manifests/v1").status == 200
        assert server.ask(f"{REPO}/blobs/{digest_of(flat.blobs[0])}").status == 200
    opened = trace.read_text()
    assert flat.blobs[0].name in opened
    assert "hidden-file" not in opened
    assert "/etc/passwd" not in opened


GARBAGE = {
    "nothing": b"",
    "an end of line": b"\r\n\r\n",
    "random bytes": random.Random(1).randbytes(5000),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET / HTTP/9.9\r\n\r\n",
    "no version": b"GET /v2/\r\n\r\n",
    "an odd method": b"G\x00T /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long method": b"A" * 100_000 + b" / HTTP/1.1\r\n\r\n",
    "a long target": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a negative length": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "an endless length": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 50 + b"\r\n\r\n",
    "a wrong chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a tunnel": b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a wrong port": b"GET http://x:99999/v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a wrong host": b"GET http://[::1/v2/ HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "parameters": b"GET /v2/?" + b"&".join(b"a=b" for _ in range(1000)) + b" HTTP/1.0\r\n\r\n",
    "an expectation": b"POST /v2/ HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n",
    "a wrong range": b"GET /v2/ HTTP/1.0\r\nRange: bytes=" + b"9" * 5000 + b"-\r\n\r\n",
    "wrong tags": b'GET /v2/ HTTP/1.0\r\nIf-None-Match: """,W/"\r\n\r\n',
}


@pytest.fixture(scope="module")
def attacked(large: CacheFixture) -> Iterator[Server]:
    """Return a server that is soon tired of waiting."""
    with serving(large.folder, "--client-timeout", "1") as running:
        yield running


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_refused_and_nothing_breaks(attacked: Server, kind: str) -> None:
    answer = attacked.send(GARBAGE[kind])
    assert answer == b"" or re.match(rb"HTTP/[01].[019] ([2-4][0-9]{2}|505) ", answer)
    assert b"Traceback" not in answer
    assert attacked.ask("/v2/").status == 200
    assert attacked.process.poll() is None
    assert "Traceback" not in attacked.log.read_text()


@pytest.mark.parametrize("kind", ["a long target", "a long header", "random bytes"])
def test_what_is_no_request_is_answered_400(attacked: Server, kind: str) -> None:
    assert re.match(rb"HTTP/1.[01] 400 ", attacked.send(GARBAGE[kind]))


def test_http_without_a_version_is_not_spoken(attacked: Server) -> None:
    assert attacked.send(GARBAGE["no version"]).split()[1] == b"505"


def test_requests_of_one_connection_are_answered_in_order(attacked: Server) -> None:
    request = b"GET /v2/%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    answers = attacked.send(
        request % (b"", b"")
        + request % (b"none", b"")
        + request % (b"_catalog", b"Connection: close\r\n")
    )
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404", b"200"]


def test_a_body_is_not_waited_for(attacked: Server) -> None:
    """A client may promise gigabytes and send them: they are neither kept nor waited for."""
    with attacked.connect() as connection:
        connection.sendall(b"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n")
        answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 405 ")
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                connection.sendall(bytes(MIB))
    assert attacked.memory() < 200 * MIB


# --- clients that hang --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v2/ HTT", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: y"], ids=len
)
def test_who_asks_for_nothing_is_sent_away(attacked: Server, sent: bytes) -> None:
    with attacked.connect() as connection:
        connection.sendall(sent)
        assert read_all(connection) == b""


def test_who_trickles_headers_is_sent_away(attacked: Server) -> None:
    with attacked.connect() as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n")
        deadline = time.monotonic() + TIMEOUT
        with pytest.raises(ConnectionError):
            while time.monotonic() < deadline:
                connection.sendall(b"X: y\r\n")
                time.sleep(0.05)


def test_a_connection_is_kept_for_a_while_only(attacked: Server) -> None:
    with attacked.connect() as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert read_all(connection) == b""


def test_who_takes_nothing_is_sent_away(attacked: Server, large: CacheFixture) -> None:
    target = f"{REPO}/blobs/{digest_of(largest(large))}"
    with attacked.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        attacked.wait_for("the client has stalled")
        assert len(read_all(connection)) < LARGE
    assert attacked.ask("/v2/").status == 200


def test_who_goes_away_is_forgotten(attacked: Server, large: CacheFixture) -> None:
    target = f"{REPO}/blobs/{digest_of(largest(large))}"
    files = Path(f"/proc/{attacked.process.pid}/fd")
    before = len(list(files.iterdir()))
    for _ in range(50):
        with attacked.connect() as connection:
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connection.recv(100)
    until(lambda: len(list(files.iterdir())) <= before)
    assert "not sent completely" in attacked.log.read_text()


def test_thousands_of_connections(large: CacheFixture) -> None:
    data = largest(large).read_bytes()
    target = f"{REPO}/blobs/{digest_of(largest(large))}"
    with serving(large.folder) as server, many_files(), contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(3000)]
        assert server.ask(target).data == data
        for connection in idle[::10]:
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        for connection in idle[::10]:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert server.memory() < 300 * MIB


def test_too_many_connections_are_told_so(large: CacheFixture) -> None:
    few = ("prlimit", "--nofile=256:256")
    with serving(large.folder, prefix=few) as server, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(300)]
        refused: set[socket.socket] = set()

        def look() -> bool:
            for connection in set(connections) - refused:
                connection.setblocking(False)
                # Who is taken in hears nothing.
                with contextlib.suppress(BlockingIOError):
                    assert b" 503 " in connection.recv(1000)
                    refused.add(connection)
            return len(refused) >= 200

        until(look)
        assert len(refused) < 300
        stack.close()
        until(lambda: server.ask("/v2/").status == 200)
        assert "Traceback" not in server.log.read_text()


def test_many_large_blobs_at_once_take_little_memory(large: CacheFixture) -> None:
    target = f"{REPO}/blobs/{digest_of(largest(large))}"
    with serving(large.folder) as server, contextlib.ExitStack() as stack:
        before = server.memory()
        for _ in range(100):
            connection = stack.enter_context(server.connect())
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connection.recv(1000)
        assert server.memory() - before < 50 * MIB


# --- files that change --------------------------------------------------------------------------


def status(server: Server, path: Path) -> int:
    return server.ask(f"{REPO}/blobs/{digest_of(path)}").status


def damage(path: Path) -> None:
    """Change a byte, and leave size and times as they were."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(times.st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("pack", ["flat", "layout", "tar"])
def test_a_damaged_blob_is_never_sent(flat: CacheFixture, tmp_path: Path, pack: str) -> None:
    blob = largest(flat)
    data = blob.read_bytes()
    path = tmp_path / pack
    match pack:
        case "flat":
            shutil.copytree(flat.folder, path)
        case "layout":
            make_layout(flat, path)
        case _:
            make_tar(flat, path)
    (holder,) = [
        each
        for each in ([path] if path.is_file() else path.rglob("*"))
        if each.is_file() and data in each.read_bytes()
    ]
    whole = holder.read_bytes()
    with serving(path) as server:
        # Before its first use, and after it.
        for _ in range(2):
            at = whole.index(data) + len(data) // 2
            holder.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            found = server.ask(f"{REPO}/blobs/{digest_of(blob)}")
            assert found.status == 404
            assert "damaged" in json.loads(found.data)["errors"][0]["message"]
            head = server.ask(f"{REPO}/blobs/{digest_of(blob)}", "HEAD")
            assert head.status == 404
            ranged = server.ask(f"{REPO}/blobs/{digest_of(blob)}", headers={"Range": "bytes=0-0"})
            assert ranged.status == 404
            holder.write_bytes(whole)
            assert server.ask(f"{REPO}/blobs/{digest_of(blob)}").data == data
        server.wait_for("damaged")


def test_damage_is_seen_though_the_times_stay(flat: CacheFixture) -> None:
    blob = largest(flat)
    with serving(flat.folder) as server:
        assert status(server, blob) == 200
        damage(blob)
        assert status(server, blob) == 404


def test_another_root_helps_out(flat: CacheFixture, tmp_path: Path) -> None:
    blob = largest(flat)
    data = blob.read_bytes()
    shutil.copytree(flat.folder, tmp_path / "second")
    damage(blob)
    with serving(flat.folder, tmp_path / "second") as server:
        assert server.ask(f"{REPO}/blobs/{digest_of(blob)}").data == data
        damage(tmp_path / "second" / "blob" / blob.name)
        assert status(server, blob) == 404
    with serving(tmp_path / "second", flat.folder) as server:
        assert status(server, blob) == 404


def test_blobs_that_vanish_come_back(flat: CacheFixture) -> None:
    blob = largest(flat)
    aside = flat.folder.parent / "aside"
    with serving(flat.folder) as server:
        for _ in range(2):
            blob.rename(aside)
            assert status(server, blob) == 404
            aside.rename(blob)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: status(server, blob) == 200)


def test_what_is_no_file_any_more_is_not_opened(flat: CacheFixture) -> None:
    blob = largest(flat)
    aside = flat.folder.parent / "aside"
    blob.rename(aside)
    with serving(flat.folder) as server:
        assert status(server, blob) == 404
    aside.rename(blob)
    with serving(flat.folder) as server:
        blob.rename(aside)
        blob.symlink_to(aside)  # to the same bytes
        assert status(server, blob) == 404
        blob.unlink()
        os.mkfifo(blob)
        assert status(server, blob) == 404
        blob.unlink()
        blob.mkdir()
        assert status(server, blob) == 404


def test_a_file_cut_while_it_is_sent_is_seen_to_be_cut(tmp_path: Path) -> None:
    cache = make_flat(tmp_path / "flat", images=1, layers=1, blob_size=LARGE)
    blob = largest(cache)
    with serving(cache.folder) as server, server.connect() as connection:
        connection.settimeout(20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        target = f"{REPO}/blobs/{digest_of(blob)}"
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = connection.recv(1000)
        assert f"Content-Length: {blob.stat().st_size}".encode() in head
        os.truncate(blob, LARGE // 2)
        assert len(read_all(connection)) < LARGE
        server.wait_for("the file was truncated")
        assert status(server, blob) == 404


# --- caches that are replaced -------------------------------------------------------------------


def tags(server: Server) -> list[str]:
    found = server.ask("/v2/_catalog?ns=registry.local:5000")
    return list(json.loads(found.data)["repositories"])


@pytest.mark.parametrize("pack", [make_layout, make_tar])
def test_a_replaced_cache_is_picked_up(
    flat: CacheFixture, tmp_path: Path, pack: Callable[[CacheFixture, Path], Path]
) -> None:
    path = pack(flat, tmp_path / "cache")
    more = make_flat(tmp_path / "more", images=4, blob_size=1000)
    blob = largest(more)
    with serving(path) as server:
        assert len(tags(server)) == 2
        new = pack(more, tmp_path / "new")
        path.rename(tmp_path / "old")
        new.rename(path)
        until(lambda: len(tags(server)) == 4)
        assert server.ask(f"{REPO}/blobs/{digest_of(blob)}").data == blob.read_bytes()
        assert status(server, largest(flat)) == 404


def test_a_tree_that_grows_is_picked_up(flat: CacheFixture, tmp_path: Path) -> None:
    more = make_flat(tmp_path / "more", images=4, blob_size=1000)
    with serving(flat.folder) as server:
        shutil.copytree(more.folder, flat.folder, dirs_exist_ok=True)
        until(lambda: len(tags(server)) == 4)
        assert all(status(server, blob) == 200 for blob in (*flat.blobs, *more.blobs))
        shutil.rmtree(flat.folder / "manifests/registry.local_5000_/team/img3")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(tags(server)) == 3)


def test_a_cache_that_is_gone_or_broken_is_told(flat: CacheFixture, tmp_path: Path) -> None:
    other = make_flat(tmp_path / "other", images=1, registry="quay.io", blob_size=1000)
    aside = tmp_path / "aside"
    with serving(flat.folder, other.folder) as server:
        flat.folder.rename(aside)
        until(lambda: tags(server) == [])
        assert server.ask(f"{REPO}/manifests/v1?ns=quay.io").status == 200
        assert any("does not exist" in text for text in server.texts("warning"))
        flat.folder.write_bytes(b"neither a tar nor a folder")
        until(lambda: len(server.texts("warning")) >= 2)
        assert tags(server) == []
        flat.folder.unlink()
        aside.rename(flat.folder)
        until(lambda: len(tags(server)) == 2)


def test_damaged_manifests_are_left_out_and_told(flat: CacheFixture) -> None:
    (path,) = (flat.folder / "manifests/registry.local_5000_/team/img0/reference").iterdir()
    path.write_bytes(b"{}")
    with serving(flat.folder) as server:
        assert server.ask(f"{REPO}/manifests/v1").status == 404
        assert server.ask("/v2/team/img1/manifests/v1").status == 200
        assert any("img0" in text for text in server.texts("warning"))
