"""The registry client against servers that fail, lie, stall or ask for too much."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest

from imager.oci import manifest as m
from imager.oci.credentials import CredentialChain
from imager.oci.digest import Digest
from imager.oci.endpoint import Hosts
from imager.oci.errors import NotFoundError
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.transport import Body, Response
from imager.support.errors import DependencyError, ImagerError, InputError
from tests.lib.registries.client import LAYER, QUICK, fetch, image
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.sample import BLOB, BLOB_PATH, MANIFEST, ROOT
from tests.lib.servers.faults import Cut, Fault, NoRanges
from tests.lib.servers.messages import Answer


def test_pulls_by_tag_and_digest(server: Registry) -> None:
    source = image(server)
    by_digest = source.manifest(Digest.of(MANIFEST))
    assert source.root() == by_digest == m.RawManifest.parse(MANIFEST)
    assert fetch(source) == BLOB
    assert source.blob_content(LAYER) is None


OTHER = MANIFEST.replace(b'"layers"', b'"annotations":{},"layers"')


@pytest.mark.parametrize(
    ("reply", "kind", "why"),
    [
        (Answer(200, b"<html>", {"Content-Type": "text/html"}), DependencyError, "web page"),
        (Answer(200, b"<html>", {}), InputError, "not valid JSON"),
        (Answer(200, b" " * (5 << 20)), DependencyError, "larger than 4 MiB"),
        (
            Answer(200, MANIFEST, {"Docker-Content-Digest": str(Digest.of(b""))}),
            DependencyError,
            "does not match its digest",
        ),
        (Answer(200, MANIFEST, {"Content-Type": m.OCI_INDEX}), InputError, "was sent as"),
        (Answer(404), NotFoundError, "/team/app:v1 is not in the registry$"),
        (Answer(403), InputError, "/team/app:v1: the registry refuses access: HTTP 403"),
        (Answer(418), DependencyError, "HTTP 418"),
    ],
)
def test_bad_manifests(server: Registry, reply: Answer, kind: type[ImagerError], why: str) -> None:
    server.always(ROOT, reply)
    with pytest.raises(kind, match=why):
        image(server).root()
    assert len(server.log.at(ROOT)) == 1


CUT = Cut(len(MANIFEST) - 5)


def test_a_manifest_that_breaks_off_is_asked_for_again(server: Registry) -> None:
    server.fault(ROOT, CUT, CUT)
    assert image(server).root().raw == MANIFEST


def test_a_manifest_that_always_breaks_off_is_given_up(server: Registry) -> None:
    server.always(ROOT, CUT)
    with pytest.raises(DependencyError, match="was lost after"):
        image(server).root()
    assert len(server.log.at(ROOT)) == 1 + QUICK.retries


def test_a_manifest_asked_by_digest_must_have_it(server: Registry) -> None:
    digest = Digest.of(MANIFEST)
    said = {"Content-Type": m.OCI_MANIFEST, "Docker-Content-Digest": str(digest)}
    server.always(f"/v2/team/app/manifests/{digest}", Answer(200, OTHER, said))
    with pytest.raises(DependencyError, match=r"expected sha256:.*, got sha256:"):
        image(server).manifest(digest)


def test_the_registrys_words_are_shown_but_cannot_drive_a_terminal(server: Registry) -> None:
    words = {"errors": [{"code": "DENIED", "message": "no\x1b[2J\nway" + "x" * 5000}]}
    server.always(ROOT, Answer(403, json.dumps(words).encode()))
    with pytest.raises(InputError) as caught:
        image(server).root()
    assert ": no[2Jwayxx" in caught.value.message
    assert len(caught.value.message) < 400
    assert "docker login 127.0.0.1" in caught.value.hint


WRONG = BLOB[:-1] + b"?"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Answer(200, WRONG), "does not match its digest"),
        (Answer(200, BLOB[:-1]), "a Content-Length of 2097151"),
        (NoRanges(Cut(999)), "lost after 999 bytes"),
        (
            Answer(200, b"5\r\nhello\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"}),
            "truncated: 5 of",
        ),
        (Answer(500), "HTTP 500"),
        (Answer(429), "limits the rate"),
    ],
)
def test_bad_blobs(server: Registry, reply: Fault, why: str) -> None:
    server.always(BLOB_PATH, reply)
    with pytest.raises(DependencyError, match=why):
        fetch(image(server))


def test_a_blob_that_stalls_each_time(server: Registry) -> None:
    server.always(BLOB_PATH, NoRanges(Cut(999, stall=True)))
    with pytest.raises(DependencyError, match="was lost after"):
        fetch(image(server, patience=replace(QUICK, retries=0, read=1)))


def test_a_body_longer_than_promised_never_reaches_the_sink(server: Registry) -> None:
    endless = b"".join(b"10000\r\n" + bytes(65536) + b"\r\n" for _ in range(64))
    server.always(BLOB_PATH, Answer(200, endless, {"Transfer-Encoding": "chunked"}))
    sink = io.BytesIO()
    with pytest.raises(DependencyError, match="longer than the 2097152 bytes"):
        image(server).fetch_blob(LAYER, sink)
    assert len(sink.getvalue()) <= LAYER.size


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 524])
def test_overload_is_tried_again(server: Registry, status: int) -> None:
    server.fault(ROOT, Answer(status), Answer(status, headers={"Retry-After": "0"}))
    assert image(server).root().raw == MANIFEST


def test_retrying_ends(server: Registry) -> None:
    server.always(ROOT, Answer(503, headers={"Retry-After": "86400"}))
    with pytest.raises(DependencyError, match="HTTP 503"):
        image(server).root()
    assert len(server.log.at(ROOT)) == 1 + QUICK.retries


@pytest.mark.parametrize("value", ["9" * 5000, "never", "-1", "Mon, 01 Jan 99999 00:00:00 GMT"])
def test_a_senseless_retry_after_is_bounded(server: Registry, value: str) -> None:
    server.fault(ROOT, Answer(429, headers={"Retry-After": value}))
    assert image(server).root().raw == MANIFEST


def test_a_dead_registry_is_named() -> None:
    with running_programmable() as dead:
        pass
    with pytest.raises(DependencyError, match=f"no answer from 127.0.0.1:{dead.port}") as caught:
        image(dead).root()
    assert "refused" in caught.value.message
    assert "Connection(" not in caught.value.message


@dataclass
class FakeTransport:
    """Answers 404 to everything; `speaking` are the URLs at which a server is."""

    speaking: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | None = None,
        origin: str = "",
    ) -> Iterator[Response]:
        self.asked.append(url)
        yield FakeResponse()

    def answers(self, url: str, *, origin: str = "") -> bool:
        return url in self.speaking


@dataclass(frozen=True)
class FakeResponse:
    status: int = 404
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def chunks(self) -> Iterator[bytes]:
        yield b""


@pytest.mark.parametrize(
    ("name", "insecure", "speaking", "url"),
    [
        ("alpine", False, "", "https://registry-1.docker.io/v2/library/alpine/manifests/latest"),
        (
            "ghcr.io/a/b:v1",
            False,
            "http://ghcr.io/v2/",
            "https://ghcr.io/v2/a/b/manifests/v1",
        ),
        ("r.test/a:v1", True, "http://r.test/v2/", "http://r.test/v2/a/manifests/v1"),
        ("r.test/a:v1", True, "https://r.test/v2/", "https://r.test/v2/a/manifests/v1"),
        ("r.test/a:v1", True, "", "https://r.test/v2/a/manifests/v1"),
        (
            "localhost:1/a:v1",
            False,
            "http://localhost:1/v2/",
            "http://localhost:1/v2/a/manifests/v1",
        ),
        ("[::1]:1/a:v1", False, "https://[::1]:1/v2/", "https://[::1]:1/v2/a/manifests/v1"),
        ("127.0.0.1.evil.test/a:v1", False, "", "https://127.0.0.1.evil.test/v2/a/manifests/v1"),
    ],
)
def test_plain_http_is_for_loopback_and_insecure_only(
    name: str, insecure: bool, speaking: str, url: str
) -> None:
    transport = FakeTransport((speaking,))
    client = RegistryClient(
        connect=lambda _: transport,
        credentials=CredentialChain(),
        hosts=Hosts(insecure=insecure),
    )
    with pytest.raises(NotFoundError):
        client.image(Reference.parse(name)).root()
    assert transport.asked == [url]
