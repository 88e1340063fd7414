"""Blobs over connections that break: taken up where they broke, by many threads at once."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imager.errors import DependencyError, ImagerError, InputError
from imager.oci import manifest as m
from imager.oci.credentials import CredentialStore
from imager.oci.digest import Digest
from imager.oci.httptransport import HttpTransport
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.retry import ConnectionLostError, Patience
from imager.oci.source import BlobCheck, LocalRange, NotFoundError, WrongBytesError
from tests.lib.registries.ranged_registry import Registry, Reply, Request, ranged, serving

BLOB = random.Random(3).randbytes(300_000)
QUICK = Patience(retries=3, first_delay=0.001, longest_delay=0.01, connect=2, read=0.3, probe=1)


def layer(data: bytes) -> m.Descriptor:
    return m.Descriptor(m.OCI_LAYER, Digest.of(data), len(data))


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as running:
        yield running


def make_client() -> RegistryClient:
    return RegistryClient(
        transport=HttpTransport(patience=QUICK),
        credentials=CredentialStore.empty(),
        patience=QUICK,
    )


def fetch(registry: Registry, have: bytes = b"", *, data: bytes = BLOB) -> bytes:
    """Fetch the blob `data` behind the bytes `have`; return what the sink got."""
    sink = io.BytesIO()
    image = make_client().image(Reference.parse(f"127.0.0.1:{registry.port}/a/b:v1"))
    pieces = [have[start : start + 7000] for start in range(0, len(have), 7000)]
    image.fetch_blob(layer(data), sink, have=pieces)
    return sink.getvalue()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ranges", [True, False])
def test_any_cut_is_taken_up(registry: Registry, seed: int, ranges: bool) -> None:
    dice = random.Random(seed)
    points = [*sorted(dice.sample(range(1, len(BLOB)), 6)), None]
    cuts = iter(points)

    def plan(request: Request) -> Reply:
        point = next(cuts)
        if not ranges:
            return Reply(200, BLOB, cut=point)
        return ranged(request, BLOB, cut=None if point is None else point - request.start)

    registry.plan = plan
    assert fetch(registry) == BLOB
    assert [request.start for request in registry.blobs()] == [0, *points[:-1]]


def test_a_stall_is_taken_up_behind_the_last_byte_that_came(registry: Registry) -> None:
    stalls = iter([True, False])
    registry.plan = lambda r: ranged(r, BLOB, cut=777 if (s := next(stalls)) else None, stall=s)
    assert fetch(registry) == BLOB
    assert [request.range for request in registry.blobs()] == [None, "bytes=777-"]


def test_progress_renews_the_patience(registry: Registry) -> None:
    step = len(BLOB) // 20
    registry.plan = lambda r: ranged(r, BLOB, cut=step)
    assert fetch(registry) == BLOB
    assert len(registry.blobs()) > 5 * QUICK.retries


def test_without_progress_patience_ends(registry: Registry) -> None:
    registry.plan = lambda r: ranged(r, BLOB, cut=0 if r.start else 1000)
    with pytest.raises(ConnectionLostError, match="was lost after 0 bytes"):
        fetch(registry)
    assert len(registry.blobs()) == 1 + 1 + QUICK.retries


def test_starts_behind_what_one_has(registry: Registry) -> None:
    registry.plan = lambda r: ranged(r, BLOB)
    assert fetch(registry, BLOB[:123_456]) == BLOB[123_456:]
    assert [request.range for request in registry.blobs()] == ["bytes=123456-"]
    assert fetch(registry, BLOB) == b""
    assert len(registry.blobs()) == 1


@pytest.mark.parametrize("have", [b"?" + BLOB[1:1000], b"?" + BLOB[1:], BLOB + b"?"])
def test_what_one_has_is_checked_too(registry: Registry, have: bytes) -> None:
    registry.plan = lambda r: ranged(r, BLOB)
    with pytest.raises(WrongBytesError, match=r"not what its digest says|longer than"):
        fetch(registry, have)
    assert len(registry.blobs()) <= 1


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(416),
        Reply(206, BLOB[999:], {"Content-Range": f"bytes 999-{len(BLOB) - 1}/{len(BLOB)}"}),
        Reply(206, BLOB[1000:], {"Content-Range": f"bytes 1000-{len(BLOB)}/{len(BLOB) + 1}"}),
        Reply(206, BLOB[1000:], {"Content-Range": "bytes 1000-"}),
        Reply(206, BLOB[1000:]),
    ],
)
def test_ranges_that_cannot_be_used_are_given_up(registry: Registry, refusal: Reply) -> None:
    registry.plan = lambda r: refusal if r.range else Reply(200, BLOB)
    assert fetch(registry, BLOB[:1000]) == BLOB[1000:]
    assert [request.range for request in registry.blobs()] == ["bytes=1000-", None]


@pytest.mark.parametrize(
    ("reply", "kind", "why"),
    [
        (Reply(206, bytes(len(BLOB) - 10)), WrongBytesError, "not what its digest says"),
        (Reply(206, bytes(len(BLOB))), WrongBytesError, "longer than"),
        (Reply(200, BLOB + b"?"), DependencyError, "is announced with 300001 bytes"),
        (Reply(401), InputError, "does not say how to log in"),
        (Reply(403), InputError, "refuses access"),
        (Reply(404), NotFoundError, "is not in the registry"),
    ],
)
def test_a_clear_answer_is_not_asked_for_again(
    registry: Registry, reply: Reply, kind: type[ImagerError], why: str
) -> None:
    reply.headers["Content-Range"] = f"bytes 10-{len(BLOB) - 1}/{len(BLOB)}"
    registry.plan = lambda r: reply if r.range else ranged(r, BLOB, cut=10)
    with pytest.raises(kind, match=why):
        fetch(registry)
    assert len(registry.blobs()) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_waited_for_between_the_pieces(registry: Registry, status: int) -> None:
    kinds = iter(["cut", "busy", "busy", "cut", "busy", "whole"])

    def plan(request: Request) -> Reply:
        kind = next(kinds)
        if kind == "busy":
            return Reply(status, headers={"Retry-After": "86400"})
        return ranged(request, BLOB, cut=100_000 if kind == "cut" else None)

    registry.plan = plan
    assert fetch(registry) == BLOB
    starts = [request.start for request in registry.blobs()]
    assert starts == [0, 100_000, 100_000, 100_000, 200_000, 200_000]


def test_the_rest_is_fetched_from_another_host_without_credentials(registry: Registry) -> None:
    with serving() as store:
        store.plan = lambda r: ranged(r, BLOB, cut=None if r.range else 5000)
        location = {"Location": f"{store.url}/store/blobs/x"}

        def plan(request: Request) -> Reply:
            if request.path.startswith("/token"):
                return Reply(200, b'{"token": "t"}')
            return Reply(307, headers=location) if request.authorization else challenge(registry)

        registry.plan = plan
        assert fetch(registry) == BLOB
        assert [(r.authorization, r.range) for r in store.asked] == [
            ("", None),
            ("", "bytes=5000-"),
        ]


def challenge(registry: Registry) -> Reply:
    value = f'Bearer realm="{registry.url}/token",service="tests"'
    return Reply(401, headers={"WWW-Authenticate": value})


@dataclass
class Tokens:
    """A registry whose tokens are good for `uses` blobs; connections break now and then."""

    registry: Registry
    blobs: dict[str, bytes]
    uses: int
    given: list[str] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(5))

    def __call__(self, request: Request) -> Reply:
        if request.path.startswith("/token"):
            token = f"t{len(self.given)}"
            self.given.append(request.path)
            self.left[f"Bearer {token}"] = self.uses
            return Reply(200, f'{{"token": "{token}"}}'.encode())
        if self.left.get(request.authorization, 0) == 0:
            return challenge(self.registry)
        self.left[request.authorization] -= 1
        data = self.blobs[request.path.rpartition("/")[2]]
        left = len(data) - request.start
        breaks = left > 1 and self.dice.random() < 0.3
        return ranged(request, data, cut=self.dice.randrange(1, left) if breaks else None)


@pytest.mark.parametrize(("uses", "repositories"), [(10_000, 1), (10_000, 3), (40, 1)])
def test_eight_threads_share_a_client(registry: Registry, uses: int, repositories: int) -> None:
    contents = [random.Random(n).randbytes(20_000 + n) for n in range(50)]
    tokens = Tokens(registry, {str(Digest.of(data)): data for data in contents}, uses)
    registry.plan = tokens
    client = make_client()
    host = f"127.0.0.1:{registry.port}"

    def pull(number: int) -> bytes:
        sink = io.BytesIO()
        reference = Reference.parse(f"{host}/a/b{number % repositories}:v1")
        client.image(reference).fetch_blob(layer(contents[number]), sink)
        return sink.getvalue()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pull, range(50))) == contents
    good = [r for r in registry.blobs() if r.authorization]
    if uses == 10_000:
        assert len(tokens.given) == len(set(tokens.given)) == repositories
    else:
        assert 1 < len(tokens.given) <= len(good) // uses + 1


def test_a_token_that_expires_between_two_pieces_is_renewed_once(registry: Registry) -> None:
    tokens = Tokens(registry, {str(Digest.of(BLOB)): BLOB}, 1)

    def plan(request: Request) -> Reply:
        reply = tokens(request)
        if reply.status in (200, 206) and "/blobs/" in request.path:
            reply.cut = None if request.start else 9000
        return reply

    registry.plan = plan
    assert fetch(registry) == BLOB
    sent = [(request.authorization, request.start) for request in registry.blobs()]
    assert sent == [("", 0), ("Bearer t0", 0), ("Bearer t0", 9000), ("Bearer t1", 9000)]
    assert len(tokens.given) == 2


def test_local_bytes_go_on_behind_what_one_has(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before" + BLOB + b"after")
    place = LocalRange(path, 6, len(BLOB))

    def rest(have: list[bytes]) -> bytes:
        sink = io.BytesIO()
        place.copy_blob(BlobCheck(layer(BLOB), sink, where="x", error=InputError), have=have)
        return sink.getvalue()

    assert rest([]) == BLOB
    assert rest([BLOB[:10], BLOB[10:5000]]) == BLOB[5000:]
    assert rest([BLOB]) == b""
    for wrong in ([b"?"], [BLOB, b"?"]):
        with pytest.raises(InputError, match=r"not what its digest says|longer than"):
            rest(wrong)
