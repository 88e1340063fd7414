"""Uploads to a registry that breaks off, loses, refuses and redirects."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from imager.content.extents import Content, Extent, FileRange
from imager.oci import manifest as m
from imager.oci.blobreader import BlobReader
from imager.oci.digest import Digest
from imager.oci.errors import NotFoundError
from imager.oci.reference import Reference
from imager.oci.retry import BusyError, Patience
from imager.oci.transport import NoAnswerError
from imager.oci.upload import Outcome, Target, has_blob, upload_blob
from imager.support.errors import DependencyError, ImagerError, InputError
from imager.support.workers import Work
from tests.lib.registries.client import make_client
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.tokens import BASIC, Tokens, challenge, token
from tests.lib.servers.faults import RIGHT, CutUpload, Lost
from tests.lib.servers.messages import Answer, Request
from tests.lib.servers.rules import ANY, Where

QUICK = Patience(retries=3, first_delay=0.001, longest_delay=0.05, connect=20, read=20, probe=20)
CHUNK = 50_000
DATA = random.Random(7).randbytes(4 * CHUNK + 123)
STARTS = list(range(0, len(DATA), CHUNK))
UPLOADS = "/v2/a/b/blobs/uploads/"
POST, PATCH, PUT = map(Where, ("POST", "PATCH", "PUT"))
UPLOAD_STATE = Where("GET", word=UPLOADS)


def digest(data: bytes) -> str:
    return str(Digest.of(data))


def make_target(
    registry: Registry, *, chunk: int = CHUNK, login: str = "", mount_from: str | None = None
) -> Target:
    client = make_client(QUICK, auths={registry.host: login} if login else {})
    return Target(client, Reference.parse(f"{registry.host}/a/b:v1"), chunk, mount_from)


def send(
    target: Target, data: bytes = DATA, *, content: Content | None = None
) -> tuple[Outcome, int]:
    """Upload `data`; return how it ended and what was counted as progress, in bytes."""
    counted: list[int] = []
    blob = m.Descriptor(m.OCI_LAYER, Digest.of(data), len(data))
    reader = BlobReader(blob, content or Content.of_bytes(data), Work(counted.append))
    return upload_blob(target, reader), sum(counted)


def parts(registry: Registry) -> list[tuple[int, int] | None]:
    return [each.part for each in registry.log.asked if each.method == "PATCH"]


def starts(registry: Registry) -> list[int]:
    return [each[0] for each in parts(registry) if each is not None]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 4 * CHUNK + 123])
@pytest.mark.parametrize("absolute", [False, True])
def test_chunks(registry: Registry, size: int, absolute: bool) -> None:
    registry.uploads.location_base = f"http://{registry.host}" if absolute else ""
    data = DATA[:size]
    assert send(make_target(registry), data) == (Outcome.SENT, size)
    assert registry.blobs == {digest(data): data}
    if size <= CHUNK:
        assert registry.log.lines == [f"POST {UPLOADS}", f"PUT {UPLOADS}0"]
    else:
        edges = [*range(0, size, CHUNK), size]
        assert parts(registry) == list(itertools.pairwise(edges))
        assert registry.log.lines[-1] == f"PUT {UPLOADS}0"


def test_holes_are_sent_as_zeros(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    size = 3 * len(DATA) + (3 << 20)
    content = Content(size, (Extent(len(DATA), len(DATA), FileRange(path)),))
    data = bytes(len(DATA)) + DATA + bytes(size - 2 * len(DATA))
    send(make_target(registry, chunk=1 << 20), data, content=content)
    assert registry.blobs == {digest(data): data}


def test_the_smallest_chunk_of_the_registry_is_kept(registry: Registry) -> None:
    registry.uploads.headers = {"OCI-Chunk-Min-Length": str(2 * CHUNK)}
    send(make_target(registry))
    assert starts(registry) == [0, 2 * CHUNK, 4 * CHUNK]
    registry.uploads.headers = {"OCI-Chunk-Min-Length": "9" * 5000}
    send(make_target(registry), DATA[1:])
    assert set(registry.blobs) == {digest(DATA), digest(DATA[1:])}


def test_without_chunks_a_blob_goes_in_one_request(registry: Registry) -> None:
    send(make_target(registry, chunk=0))
    assert registry.log.lines == [f"POST {UPLOADS}", f"PUT {UPLOADS}0"]
    assert registry.blobs == {digest(DATA): DATA}


@pytest.mark.parametrize("status", [400, 405, 411, 415, 501])
@pytest.mark.parametrize("after", [0, 1])
def test_a_registry_without_chunks_gets_the_blob_whole(
    registry: Registry, status: int, after: int
) -> None:
    registry.fault(PATCH, *[RIGHT] * after, *[Answer(status)] * 9)
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert registry.log.lines[-2:] == [f"POST {UPLOADS}", f"PUT {UPLOADS}1"]
    assert len(parts(registry)) == after + 1
    assert registry.blobs == {digest(DATA): DATA}


@pytest.mark.parametrize("seed", range(6))
def test_a_broken_chunk_is_taken_up_where_it_broke(registry: Registry, seed: int) -> None:
    dice = random.Random(seed)
    cuts = [dice.randrange(1000, CHUNK // 3) for _ in range(8)]
    registry.fault(PATCH, *map(CutUpload, cuts))
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert registry.blobs == {digest(DATA): DATA}
    assert starts(registry)[:9] == [0, *itertools.accumulate(cuts)]
    assert registry.log.lines.count(f"POST {UPLOADS}") == 1


def test_bytes_the_registry_did_not_keep_are_sent_again(registry: Registry) -> None:
    registry.fault(PATCH, RIGHT, CutUpload(999, keeps=False), CutUpload(0))
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert starts(registry) == [0, CHUNK, CHUNK, *STARTS[1:]]


def test_a_lost_answer_to_a_chunk_is_found_out(registry: Registry) -> None:
    registry.fault(PATCH, RIGHT, Lost())
    send(make_target(registry))
    assert starts(registry) == STARTS


@pytest.mark.parametrize("chunk", [CHUNK, 0])
def test_a_lost_answer_to_the_end_is_found_out(registry: Registry, chunk: int) -> None:
    registry.fault(PUT, Lost())
    assert send(make_target(registry, chunk=chunk)) == (Outcome.SENT, len(DATA))
    assert registry.log.lines[-1] == f"HEAD /v2/a/b/blobs/{digest(DATA)}"
    assert registry.log.lines.count(f"PUT {UPLOADS}0") == 1


def test_without_progress_patience_ends(registry: Registry) -> None:
    registry.always(PATCH, CutUpload(500, keeps=False))
    registry.fault(PATCH, RIGHT)
    with pytest.raises(NoAnswerError):
        send(make_target(registry))
    assert starts(registry) == [0, *[CHUNK] * (1 + QUICK.retries)]
    assert registry.blobs == {}


def test_a_registry_that_went_back_is_followed(registry: Registry) -> None:
    def go_back(request: Request) -> None:
        if request.part == (2 * CHUNK, 3 * CHUNK) and not behind:
            behind.append(request)
            del registry.uploads.sessions["0"][CHUNK + 77 :]

    behind: list[Request] = []
    registry.decide(go_back, PATCH)
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert starts(registry)[:4] == [0, CHUNK, 2 * CHUNK, CHUNK + 77]
    assert registry.blobs == {digest(DATA): DATA}


@pytest.mark.parametrize("told", ["0-999999999", "5-10", "never", ""])
def test_an_offset_that_cannot_be_begins_anew(registry: Registry, told: str) -> None:
    registry.fault(PATCH, RIGHT, Answer(416))
    registry.fault(UPLOAD_STATE, Answer(204, headers={"Range": told}))
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert starts(registry) == [0, CHUNK, *STARTS]
    assert registry.blobs == {digest(DATA): DATA}


@pytest.mark.parametrize("told", [f"0-{CHUNK}", "0-9999999999999999999"])
def test_more_than_was_sent_is_not_believed(registry: Registry, told: str) -> None:
    registry.fault(PATCH, Answer(202, headers={"Range": told}))
    send(make_target(registry))
    assert starts(registry) == [0, *STARTS]
    assert registry.blobs == {digest(DATA): DATA}


def test_less_than_was_sent_goes_on_from_there(registry: Registry) -> None:
    def keep_less(request: Request) -> Answer | None:
        if request.part == (0, CHUNK):
            registry.uploads.sessions["0"].extend(DATA[:1000])
            headers = {"Range": "0-999", "Location": f"{UPLOADS}0?_state=kept"}
            return Answer(202, headers=headers)
        return None

    registry.decide(keep_less, PATCH)
    send(make_target(registry))
    assert starts(registry)[:2] == [0, 1000]
    assert registry.blobs == {digest(DATA): DATA}


def test_a_lost_session_is_begun_anew(registry: Registry) -> None:
    registry.fault(PATCH, RIGHT, RIGHT, Answer(404))
    registry.fault(UPLOAD_STATE, Answer(404))
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert starts(registry) == [0, CHUNK, 2 * CHUNK, *STARTS]
    assert registry.log.lines.count(f"POST {UPLOADS}") == 2


def test_sessions_are_not_begun_for_ever(registry: Registry) -> None:
    for place in (PATCH, UPLOAD_STATE):
        registry.always(place, Answer(404))
    with pytest.raises(DependencyError, match="failed 4 times"):
        send(make_target(registry))
    assert registry.log.lines.count(f"POST {UPLOADS}") == 1 + QUICK.retries


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_busy_registry_is_waited_for(registry: Registry, status: int, method: str) -> None:
    busy = Answer(status, headers={"Retry-After": "86400"})
    registry.fault(Where(method), busy, Answer(status))
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert registry.blobs == {digest(DATA): DATA}


def test_waiting_for_a_busy_registry_ends(registry: Registry) -> None:
    registry.always(POST, Answer(503))
    with pytest.raises(BusyError, match="HTTP 503") as caught:
        send(make_target(registry))
    assert "does not send uploaded blobs again" in caught.value.hint
    assert len(registry.log.asked) == 1 + QUICK.retries


@pytest.mark.parametrize(
    ("method", "status", "kind", "hint"),
    [
        ("POST", 401, InputError, "docker login"),
        ("POST", 403, InputError, "docker login"),
        ("POST", 404, NotFoundError, "created first"),
        ("POST", 400, DependencyError, "what it accepts"),
        ("PATCH", 403, InputError, "docker login"),
        ("PATCH", 413, InputError, "--chunk-size"),
        ("PUT", 400, DependencyError, "what it accepts"),
    ],
)
def test_a_clear_refusal_is_final(
    registry: Registry, method: str, status: int, kind: type[ImagerError], hint: str
) -> None:
    headers = {"WWW-Authenticate": 'Basic realm="x"'}
    registry.always(Where(method), Answer(status, headers=headers))
    with pytest.raises(kind) as caught:
        send(make_target(registry, login="me:wrong"))
    assert hint in caught.value.hint
    asked = [each for each in registry.log.asked if each.method == method]
    # A challenge is answered once, also where the registry hides what it has.
    assert len(asked) == (2 if status in (401, 403, 404) else 1)
    assert registry.blobs == {}


@pytest.mark.parametrize("status", [400, 403, 404, 413, 503])
def test_the_words_of_the_registry_are_told(registry: Registry, status: int) -> None:
    said = b'{"errors": [{"code": "DENIED", "message": "no {place} for {0} {here"}]}'
    registry.always(POST, Answer(status, said))
    with pytest.raises(ImagerError) as caught:
        send(make_target(registry))
    assert caught.value.message.endswith(f"HTTP {status}: no {{place}} for {{0}} {{here")


@pytest.mark.parametrize("chunk", [CHUNK, 0])
@pytest.mark.parametrize("place", [0, len(DATA) - 1])
def test_a_damaged_blob_is_not_completed(registry: Registry, chunk: int, place: int) -> None:
    damaged = bytearray(DATA)
    damaged[place] ^= 1
    with pytest.raises(InputError, match="does not match its digest"):
        send(make_target(registry, chunk=chunk), content=Content.of_bytes(bytes(damaged)))
    taken = [session for session in registry.uploads.sessions.values() if len(session) >= len(DATA)]
    assert (taken, registry.blobs) == ([], {})


def test_a_file_that_shrank_is_told(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA[:-1])
    content = Content.of_source(FileRange(path), len(DATA))
    with pytest.raises(InputError, match="shorter than it was"):
        send(make_target(registry), content=content)


@pytest.mark.parametrize("status", [405, 501])
def test_a_registry_without_head_is_sent_the_blob(registry: Registry, status: int) -> None:
    registry.always(Where("HEAD"), Answer(status))
    blob = m.Descriptor(m.OCI_LAYER, Digest.of(DATA), len(DATA))
    assert not has_blob(make_target(registry), blob)


def test_mounting(registry: Registry) -> None:
    registry.repository("c/d").add_blob(DATA)
    assert send(make_target(registry, mount_from="c/d")) == (Outcome.MOUNTED, 0)
    (asked,) = registry.log.asked
    assert asked.query == {"mount": [digest(DATA)], "from": ["c/d"]}


def test_a_mount_that_is_not_made_is_an_upload(registry: Registry) -> None:
    assert send(make_target(registry, mount_from="c/d")) == (Outcome.SENT, len(DATA))
    assert registry.log.lines.count(f"POST {UPLOADS}") == 1
    assert registry.blobs == {digest(DATA): DATA}


@pytest.mark.parametrize("scope", [True, False])
def test_a_token_for_reading_and_one_for_writing(registry: Registry, scope: bool) -> None:
    tokens = Tokens(registry, uses=10_000, scope=scope)
    registry.decide(tokens)
    target = make_target(registry)
    for data in (DATA, DATA[1:]):
        assert not has_blob(target, m.Descriptor(m.OCI_LAYER, Digest.of(data), len(data)))
        send(target, data)
    assert tokens.scopes == [["repository:a/b:pull"], ["repository:a/b:pull,push"]]
    assert set(registry.blobs) == {digest(DATA), digest(DATA[1:])}


def test_a_token_that_expires_between_two_chunks_is_renewed(registry: Registry) -> None:
    tokens = Tokens(registry, uses=2)
    registry.decide(tokens)
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert len(tokens.scopes) == 4
    assert registry.blobs == {digest(DATA): DATA}


def test_the_scopes_of_a_mount_are_asked_for_one_by_one(registry: Registry) -> None:
    scopes = ["repository:a/b:pull,push", "repository:c/d:pull"]
    asked = challenge(registry, scope=" ".join(scopes))
    registry.decide(lambda request: None if request.authorization else asked)
    registry.always(Where(word="/token?"), token("t"))
    send(make_target(registry, mount_from="c/d"))
    assert [each.query["scope"] for each in registry.log.about("/token?")] == [scopes]


def logged_in(registry: Registry) -> Target:
    """Return a target whose requests carry a password; the first answer asks for it."""
    registry.decide(lambda request: None if request.authorization else BASIC)
    return make_target(registry, login="me:secret")


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirected_chunk_is_sent_again_without_the_password(
    registry: Registry, status: int
) -> None:
    with running_programmable() as other:
        other.uploads.sessions["0"] = bytearray()
        place = {"Location": f"http://{other.host}{UPLOADS}0?_state=kept"}
        registry.fault(PATCH, Answer(status, headers=place))
        assert send(logged_in(registry)) == (Outcome.SENT, len(DATA))
        assert other.blobs == {digest(DATA): DATA}
        assert {asked.authorization for asked in other.log.requests} == {""}
        assert {asked.authorization[:5] for asked in registry.log.asked[1:]} == {"Basic"}


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_may_lose_the_body_is_refused(registry: Registry, status: int) -> None:
    registry.fault(PATCH, Answer(status, headers={"Location": f"{UPLOADS}0?_state=kept"}))
    with pytest.raises(DependencyError, match=f"redirects an upload or login .*HTTP {status}"):
        send(make_target(registry))
    assert len(parts(registry)) == 1


def test_nothing_is_sent_on_to_another_host(registry: Registry) -> None:
    with running_programmable() as other:
        place = {"Location": f"http://localhost:{other.port}{UPLOADS}0"}
        registry.fault(PATCH, Answer(307, headers=place))
        with pytest.raises(DependencyError, match=r"to localhost .HTTP 307., which is not safe"):
            send(make_target(registry))
        assert other.log.requests == []


@pytest.mark.parametrize(
    ("base", "why"),
    [
        ("http://169.254.169.254", "a cloud metadata service"),
        ("ftp://127.0.0.1", "is not a valid URL"),
    ],
)
def test_sessions_are_not_followed_everywhere(registry: Registry, base: str, why: str) -> None:
    registry.uploads.location_base = base
    with pytest.raises(DependencyError, match=why):
        send(logged_in(registry))
    assert [asked.method for asked in registry.log.asked].count("POST") <= 2


def test_the_password_does_not_go_to_a_session_elsewhere(registry: Registry) -> None:
    with running_programmable() as store:
        store.uploads.sessions["0"] = bytearray()
        registry.uploads.location_base = f"http://localhost:{store.port}"
        store.uploads.location_base = registry.uploads.location_base
        assert send(logged_in(registry)) == (Outcome.SENT, len(DATA))
        assert store.blobs == {digest(DATA): DATA}
        assert {asked.authorization for asked in store.log.requests} == {""}
        # Nor does it answer the other's challenge.
        store.uploads.sessions["1"] = bytearray()
        store.always(ANY, BASIC)
        with pytest.raises(InputError, match="HTTP 401"):
            send(logged_in(registry), DATA[1:])
        assert {asked.authorization for asked in store.log.requests} == {""}
