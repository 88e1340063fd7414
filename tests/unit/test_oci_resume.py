"""Blobs over connections that break: taken up where they broke, by many threads at once."""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from imager.content.extents import Content, FileRange
from imager.oci import manifest as m
from imager.oci.digest import Digest
from imager.oci.errors import NotFoundError, WrongBytesError
from imager.oci.reference import Reference
from imager.oci.retry import ConnectionLostError, Patience
from imager.oci.source import BlobCheck, copy_blob
from imager.support.errors import DependencyError, ImagerError, InputError
from tests.lib.registries.client import fetch, image, make_client
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.tokens import Tokens, challenge, token
from tests.lib.servers.faults import RIGHT, Cut, CutAt, Fault, NoRanges
from tests.lib.servers.messages import Answer, Request
from tests.lib.servers.rules import Where

BLOB = random.Random(3).randbytes(300_000)
BLOBS = Where(word="/blobs/")
QUICK = Patience(retries=3, first_delay=0.001, longest_delay=0.01, connect=20, read=20, probe=20)


def layer(data: bytes) -> m.Descriptor:
    return m.Descriptor(m.OCI_LAYER, Digest.of(data), len(data))


@pytest.fixture(autouse=True)
def _blob(registry: Registry) -> None:
    registry.repository("team/app").add_blob(BLOB)


def pull(registry: Registry, have: bytes = b"", *, patience: Patience = QUICK) -> bytes:
    """Fetch the blob behind the bytes `have`; return what the sink got."""
    pieces = [have[start : start + 7000] for start in range(0, len(have), 7000)]
    return fetch(image(registry, patience=patience), layer(BLOB), pieces)


def blobs(registry: Registry) -> list[Request]:
    return registry.log.about("/blobs/")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ranges", [True, False])
def test_any_cut_is_taken_up(registry: Registry, seed: int, ranges: bool) -> None:
    dice = random.Random(seed)
    points = sorted(dice.sample(range(1, len(BLOB)), 6))
    turns: list[Fault] = [*map(CutAt, points), RIGHT]
    registry.fault(BLOBS, *(turns if ranges else map(NoRanges, turns)))
    assert pull(registry) == BLOB
    assert [request.start for request in blobs(registry)] == [0, *points]


def test_a_stall_is_taken_up_behind_the_last_byte_that_came(registry: Registry) -> None:
    registry.fault(BLOBS, Cut(777, stall=True))
    assert pull(registry, patience=replace(QUICK, read=2)) == BLOB
    assert [request.range for request in blobs(registry)] == [None, "bytes=777-"]


def test_progress_renews_the_patience(registry: Registry) -> None:
    step = len(BLOB) // 20
    registry.always(BLOBS, Cut(step))
    assert pull(registry) == BLOB
    assert len(blobs(registry)) > 5 * QUICK.retries


def test_without_progress_patience_ends(registry: Registry) -> None:
    registry.always(BLOBS, CutAt(1000))
    with pytest.raises(ConnectionLostError, match="was lost after 0 bytes"):
        pull(registry)
    assert len(blobs(registry)) == 1 + 1 + QUICK.retries


def test_starts_behind_what_one_has(registry: Registry) -> None:
    assert pull(registry, BLOB[:123_456]) == BLOB[123_456:]
    assert [request.range for request in blobs(registry)] == ["bytes=123456-"]
    assert pull(registry, BLOB) == b""
    assert len(blobs(registry)) == 1


@pytest.mark.parametrize("have", [b"?" + BLOB[1:1000], b"?" + BLOB[1:], BLOB + b"?"])
def test_what_one_has_is_checked_too(registry: Registry, have: bytes) -> None:
    with pytest.raises(WrongBytesError, match=r"does not match its digest|longer than"):
        pull(registry, have)
    assert len(blobs(registry)) <= 1


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(416),
        Answer(206, BLOB[999:], {"Content-Range": f"bytes 999-{len(BLOB) - 1}/{len(BLOB)}"}),
        Answer(206, BLOB[1000:], {"Content-Range": f"bytes 1000-{len(BLOB)}/{len(BLOB) + 1}"}),
        Answer(206, BLOB[1000:], {"Content-Range": "bytes 1000-"}),
        Answer(206, BLOB[1000:]),
    ],
)
def test_ranges_that_cannot_be_used_are_given_up(registry: Registry, refusal: Answer) -> None:
    registry.decide(lambda request: refusal if request.range else None, BLOBS)
    assert pull(registry, BLOB[:1000]) == BLOB[1000:]
    assert [request.range for request in blobs(registry)] == ["bytes=1000-", None]


@pytest.mark.parametrize(
    ("reply", "kind", "why"),
    [
        (Answer(206, bytes(len(BLOB) - 10)), WrongBytesError, "does not match its digest"),
        (Answer(206, bytes(len(BLOB))), WrongBytesError, "longer than"),
        (Answer(200, BLOB + b"?"), DependencyError, "a Content-Length of 300001"),
        (Answer(401), InputError, "sent no authentication challenge"),
        (Answer(403), InputError, "refuses access"),
        (Answer(404), NotFoundError, "is not in the registry"),
    ],
)
def test_a_clear_answer_is_not_asked_for_again(
    registry: Registry, reply: Answer, kind: type[ImagerError], why: str
) -> None:
    rest = replace(reply, headers={"Content-Range": f"bytes 10-{len(BLOB) - 1}/{len(BLOB)}"})
    registry.fault(BLOBS, Cut(10), rest)
    with pytest.raises(kind, match=why):
        pull(registry)
    assert len(blobs(registry)) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_waited_for_between_the_pieces(registry: Registry, status: int) -> None:
    busy = Answer(status, headers={"Retry-After": "86400"})
    registry.fault(BLOBS, Cut(100_000), busy, busy, Cut(100_000), busy)
    assert pull(registry) == BLOB
    starts = [request.start for request in blobs(registry)]
    assert starts == [0, 100_000, 100_000, 100_000, 200_000, 200_000]


def test_the_rest_is_fetched_from_another_host_without_credentials(registry: Registry) -> None:
    with running_programmable() as store:
        store.repository("store").add_blob(BLOB)
        store.fault(BLOBS, Cut(5000))
        place = f"{store.url}/v2/store/blobs/{Digest.of(BLOB)}"
        registry.always(BLOBS, Answer(307, headers={"Location": place}))
        asked = challenge(registry)
        registry.decide(lambda request: None if request.authorization else asked, BLOBS)
        registry.always(Where(word="/token?"), token("t"))
        assert pull(registry) == BLOB
        assert [(r.authorization, r.range) for r in store.log.requests] == [
            ("", None),
            ("", "bytes=5000-"),
        ]


@pytest.mark.parametrize(("uses", "repositories"), [(10_000, 1), (10_000, 3), (40, 1)])
def test_eight_threads_share_a_client(registry: Registry, uses: int, repositories: int) -> None:
    contents = [random.Random(n).randbytes(20_000 + n) for n in range(50)]
    for number, data in enumerate(contents):
        registry.repository(f"team/app{number % repositories}").add_blob(data)
    dice = random.Random(5)
    registry.decide(
        lambda _: Cut(dice.randrange(1, 20_000)) if dice.random() < 0.3 else None, BLOBS
    )
    tokens = Tokens(registry, uses, scope=False)
    registry.decide(tokens)
    client = make_client(QUICK)

    def pull_one(number: int) -> bytes:
        reference = Reference.parse(f"{registry.host}/team/app{number % repositories}:v1")
        return fetch(client.image(reference), layer(contents[number]))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pull_one, range(50))) == contents
    good = [r for r in blobs(registry) if r.authorization]
    if uses == 10_000:
        assert len(tokens.given) == len({each.target for each in tokens.given}) == repositories
    else:
        assert 1 < len(tokens.given) <= len(good) // uses + 1


def test_a_token_that_expires_between_two_pieces_is_renewed_once(registry: Registry) -> None:
    tokens = Tokens(registry, 1, scope=False)
    registry.fault(BLOBS, Cut(9000))
    registry.decide(tokens)
    assert pull(registry) == BLOB
    sent = [(request.authorization, request.start) for request in blobs(registry)]
    assert sent == [("", 0), ("Bearer t0", 0), ("Bearer t0", 9000), ("Bearer t1", 9000)]
    assert len(tokens.given) == 2


def test_local_bytes_go_on_behind_what_one_has(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before" + BLOB + b"after")
    place = Content.of_source(FileRange(path, 6), len(BLOB))

    def rest(have: list[bytes]) -> bytes:
        sink = io.BytesIO()
        copy_blob(place, BlobCheck(layer(BLOB), sink, where="x", error=InputError), have=have)
        return sink.getvalue()

    assert rest([]) == BLOB
    assert rest([BLOB[:10], BLOB[10:5000]]) == BLOB[5000:]
    assert rest([BLOB]) == b""
    for wrong in ([b"?"], [BLOB, b"?"]):
        with pytest.raises(InputError, match=r"does not match its digest|longer than"):
            rest(wrong)
