"""Uploads to a registry that breaks off, loses, refuses and redirects."""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from imager.errors import DependencyError, ImagerError, InputError
from imager.extents import Content, Extent, FileRange
from imager.oci import manifest as m
from imager.oci.blobreader import BlobReader
from imager.oci.credentials import CredentialStore
from imager.oci.digest import Digest
from imager.oci.documents import Fields
from imager.oci.httptransport import HttpTransport
from imager.oci.reference import Reference
from imager.oci.registry import RegistryClient
from imager.oci.retry import BusyError, Patience
from imager.oci.source import NotFoundError
from imager.oci.transport import NoAnswerError
from imager.oci.upload import Outcome, Target, has_blob, upload_blob
from tests.lib.registries.upload_registry import Asked, Fault, UploadRegistry, upload_registry

QUICK = Patience(retries=3, first_delay=0.001, longest_delay=0.05, connect=2, read=2, probe=1)
CHUNK = 50_000
DATA = random.Random(7).randbytes(4 * CHUNK + 123)
STARTS = list(range(0, len(DATA), CHUNK))
UPLOADS = "/v2/a/b/blobs/uploads/"


@pytest.fixture
def registry() -> Iterator[UploadRegistry]:
    with upload_registry() as running:
        yield running


def digest(data: bytes) -> str:
    return str(Digest.of(data))


def make_target(
    registry: UploadRegistry, *, chunk: int = CHUNK, login: str = "", mount_from: str | None = None
) -> Target:
    auth = {"auth": base64.b64encode(login.encode()).decode()}
    client = RegistryClient(
        transport=HttpTransport(patience=QUICK),
        credentials=CredentialStore(Fields({"auths": {registry.host: auth}} if login else {}, "x")),
        patience=QUICK,
    )
    return Target(client, Reference.parse(f"{registry.host}/a/b:v1"), chunk, mount_from)


def send(
    target: Target, data: bytes = DATA, *, content: Content | None = None
) -> tuple[Outcome, int]:
    """Upload `data`; return how it ended and what was counted as progress, in bytes."""
    counted: list[int] = []
    blob = m.Descriptor(m.OCI_LAYER, Digest.of(data), len(data))
    reader = BlobReader(blob, content or Content.of_bytes(data), progress=counted.append)
    return upload_blob(target, reader), sum(counted)


def starts(registry: UploadRegistry) -> list[int]:
    return [each[0] for each in registry.ranges() if each is not None]


def by_turns(method: str, faults: Iterable[Fault | None]) -> Callable[[Asked], Fault | None]:
    """Return a plan that gives the requests of `method` their faults one after another."""
    turns = iter(faults)
    return lambda asked: next(turns, None) if asked.method == method else None


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 4 * CHUNK + 123])
@pytest.mark.parametrize("absolute", [False, True])
def test_chunks(registry: UploadRegistry, size: int, absolute: bool) -> None:
    registry.location_base = f"http://{registry.host}" if absolute else ""
    data = DATA[:size]
    assert send(make_target(registry), data) == (Outcome.SENT, size)
    assert registry.blobs == {digest(data): data}
    if size <= CHUNK:
        assert registry.said == [f"POST {UPLOADS}", f"PUT {UPLOADS}0"]
    else:
        edges = [*range(0, size, CHUNK), size]
        assert registry.ranges() == list(itertools.pairwise(edges))
        assert registry.said[-1] == f"PUT {UPLOADS}0"


def test_holes_are_sent_as_zeros(registry: UploadRegistry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    size = 3 * len(DATA) + (3 << 20)
    content = Content(size, (Extent(len(DATA), len(DATA), FileRange(path)),))
    data = bytes(len(DATA)) + DATA + bytes(size - 2 * len(DATA))
    send(make_target(registry, chunk=1 << 20), data, content=content)
    assert registry.blobs == {digest(data): data}


def test_the_smallest_chunk_of_the_registry_is_kept(registry: UploadRegistry) -> None:
    registry.post_headers = {"OCI-Chunk-Min-Length": str(2 * CHUNK)}
    send(make_target(registry))
    assert starts(registry) == [0, 2 * CHUNK, 4 * CHUNK]
    registry.post_headers = {"OCI-Chunk-Min-Length": "9" * 5000}
    send(make_target(registry), DATA[1:])
    assert set(registry.blobs) == {digest(DATA), digest(DATA[1:])}


def test_without_chunks_a_blob_goes_in_one_request(registry: UploadRegistry) -> None:
    send(make_target(registry, chunk=0))
    assert registry.said == [f"POST {UPLOADS}", f"PUT {UPLOADS}0"]
    assert registry.blobs == {digest(DATA): DATA}


@pytest.mark.parametrize("status", [400, 405, 411, 415, 501])
@pytest.mark.parametrize("after", [0, 1])
def test_a_registry_without_chunks_gets_the_blob_whole(
    registry: UploadRegistry, status: int, after: int
) -> None:
    registry.fault = by_turns("PATCH", [None] * after + [Fault(status)] * 9)
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert registry.said[-2:] == [f"POST {UPLOADS}", f"PUT {UPLOADS}1"]
    assert len(registry.ranges()) == after + 1
    assert registry.blobs == {digest(DATA): DATA}


@pytest.mark.parametrize("seed", range(6))
def test_a_broken_chunk_is_taken_up_where_it_broke(registry: UploadRegistry, seed: int) -> None:
    dice = random.Random(seed)
    cuts = [dice.randrange(1000, CHUNK // 3) for _ in range(8)]
    registry.fault = by_turns("PATCH", [Fault(cut=cut) for cut in cuts])
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert registry.blobs == {digest(DATA): DATA}
    assert starts(registry)[:9] == [0, *itertools.accumulate(cuts)]
    assert registry.said.count(f"POST {UPLOADS}") == 1


def test_bytes_the_registry_did_not_keep_are_sent_again(registry: UploadRegistry) -> None:
    registry.fault = by_turns("PATCH", [None, Fault(cut=999, keeps=False), Fault(cut=0)])
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert starts(registry) == [0, CHUNK, CHUNK, *STARTS[1:]]


def test_a_lost_answer_to_a_chunk_is_found_out(registry: UploadRegistry) -> None:
    registry.fault = by_turns("PATCH", [None, Fault()])
    send(make_target(registry))
    assert starts(registry) == STARTS


@pytest.mark.parametrize("chunk", [CHUNK, 0])
def test_a_lost_answer_to_the_end_is_found_out(registry: UploadRegistry, chunk: int) -> None:
    registry.fault = by_turns("PUT", [Fault()])
    assert send(make_target(registry, chunk=chunk)) == (Outcome.SENT, len(DATA))
    assert registry.said[-1] == f"HEAD /v2/a/b/blobs/{digest(DATA)}"
    assert registry.said.count(f"PUT {UPLOADS}0") == 1


def test_without_progress_patience_ends(registry: UploadRegistry) -> None:
    registry.fault = by_turns("PATCH", [None, *[Fault(cut=500, keeps=False)] * 99])
    with pytest.raises(NoAnswerError):
        send(make_target(registry))
    assert starts(registry) == [0, *[CHUNK] * (1 + QUICK.retries)]
    assert registry.blobs == {}


def test_a_registry_that_went_back_is_followed(registry: UploadRegistry) -> None:
    def fault(asked: Asked) -> None:
        if asked.method == "PATCH" and asked.range == (2 * CHUNK, 3 * CHUNK) and len(behind) == 0:
            behind.append(asked)
            del registry.sessions["0"][CHUNK + 77 :]

    behind: list[Asked] = []
    registry.fault = fault
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert starts(registry)[:4] == [0, CHUNK, 2 * CHUNK, CHUNK + 77]
    assert registry.blobs == {digest(DATA): DATA}


@pytest.mark.parametrize("told", ["0-999999999", "5-10", "never", ""])
def test_an_offset_that_cannot_be_begins_anew(registry: UploadRegistry, told: str) -> None:
    plans = {"PATCH": iter([None, Fault(416)]), "GET": iter([Fault(204, {"Range": told})])}
    registry.fault = lambda asked: next(plans.get(asked.method, iter(())), None)
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert starts(registry) == [0, CHUNK, *STARTS]
    assert registry.blobs == {digest(DATA): DATA}


@pytest.mark.parametrize("told", [f"0-{CHUNK}", "0-9999999999999999999"])
def test_more_than_was_sent_is_not_believed(registry: UploadRegistry, told: str) -> None:
    registry.fault = by_turns("PATCH", [Fault(202, {"Range": told})])
    send(make_target(registry))
    assert starts(registry) == [0, *STARTS]
    assert registry.blobs == {digest(DATA): DATA}


def test_less_than_was_sent_goes_on_from_there(registry: UploadRegistry) -> None:
    def fault(asked: Asked) -> Fault | None:
        if asked.range == (0, CHUNK):
            registry.sessions["0"].extend(DATA[:1000])
            headers = {"Range": "0-999", "Location": f"{UPLOADS}0?_state=kept"}
            return Fault(202, headers)
        return None

    registry.fault = fault
    send(make_target(registry))
    assert starts(registry)[:2] == [0, 1000]
    assert registry.blobs == {digest(DATA): DATA}


def test_a_lost_session_is_begun_anew(registry: UploadRegistry) -> None:
    registry.fault = by_turns("PATCH", [None, None, Fault(404)])
    statuses = by_turns("GET", [Fault(404)])
    patches = registry.fault
    registry.fault = lambda asked: patches(asked) or statuses(asked)
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert starts(registry) == [0, CHUNK, 2 * CHUNK, *STARTS]
    assert registry.said.count(f"POST {UPLOADS}") == 2


def test_sessions_are_not_begun_for_ever(registry: UploadRegistry) -> None:
    registry.fault = lambda asked: Fault(404) if asked.method in ("PATCH", "GET") else None
    with pytest.raises(DependencyError, match="broke off 4 times"):
        send(make_target(registry))
    assert registry.said.count(f"POST {UPLOADS}") == 1 + QUICK.retries


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_busy_registry_is_waited_for(registry: UploadRegistry, status: int, method: str) -> None:
    registry.fault = by_turns(method, [Fault(status, {"Retry-After": "86400"}), Fault(status)])
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert registry.blobs == {digest(DATA): DATA}


def test_waiting_for_a_busy_registry_ends(registry: UploadRegistry) -> None:
    registry.fault = by_turns("POST", [Fault(503)] * 99)
    with pytest.raises(BusyError, match="HTTP 503") as caught:
        send(make_target(registry))
    assert "not sent twice" in caught.value.hint
    assert len(registry.asked) == 1 + QUICK.retries


@pytest.mark.parametrize(
    ("method", "status", "kind", "hint"),
    [
        ("POST", 401, InputError, "docker login"),
        ("POST", 403, InputError, "docker login"),
        ("POST", 404, NotFoundError, "make the repository"),
        ("POST", 400, DependencyError, "what it accepts"),
        ("PATCH", 403, InputError, "docker login"),
        ("PATCH", 413, InputError, "--chunk-size"),
        ("PUT", 400, DependencyError, "what it accepts"),
    ],
)
def test_a_clear_refusal_is_final(
    registry: UploadRegistry, method: str, status: int, kind: type[ImagerError], hint: str
) -> None:
    headers = {"WWW-Authenticate": 'Basic realm="x"'}
    registry.fault = by_turns(method, [Fault(status, headers)] * 99)
    with pytest.raises(kind) as caught:
        send(make_target(registry, login="me:wrong"))
    assert hint in caught.value.hint
    asked = [each for each in registry.asked if each.method == method]
    # A challenge is answered once, also where the registry hides what it has.
    assert len(asked) == (2 if status in (401, 403, 404) else 1)
    assert registry.blobs == {}


@pytest.mark.parametrize("status", [400, 403, 404, 413, 503])
def test_the_words_of_the_registry_are_told(registry: UploadRegistry, status: int) -> None:
    said = b'{"errors": [{"code": "DENIED", "message": "no {place} for {0} {here"}]}'
    registry.fault = by_turns("POST", [Fault(status, body=said)] * 99)
    with pytest.raises(ImagerError) as caught:
        send(make_target(registry))
    assert caught.value.message.endswith(f"HTTP {status}: no {{place}} for {{0}} {{here")


@pytest.mark.parametrize("chunk", [CHUNK, 0])
@pytest.mark.parametrize("place", [0, len(DATA) - 1])
def test_a_damaged_blob_is_not_completed(registry: UploadRegistry, chunk: int, place: int) -> None:
    damaged = bytearray(DATA)
    damaged[place] ^= 1
    with pytest.raises(InputError, match="does not match its digest"):
        send(make_target(registry, chunk=chunk), content=Content.of_bytes(bytes(damaged)))
    taken = [session for session in registry.sessions.values() if len(session) >= len(DATA)]
    assert (taken, registry.blobs) == ([], {})


def test_a_file_that_shrank_is_told(registry: UploadRegistry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA[:-1])
    content = Content.of_source(FileRange(path), len(DATA))
    with pytest.raises(InputError, match="shorter than it was"):
        send(make_target(registry), content=content)


def test_mounting(registry: UploadRegistry) -> None:
    registry.mountable = {digest(DATA)}
    assert send(make_target(registry, mount_from="c/d")) == (Outcome.MOUNTED, 0)
    (asked,) = registry.asked
    assert asked.query == {"mount": [digest(DATA)], "from": ["c/d"]}


def test_a_mount_that_is_not_made_is_an_upload(registry: UploadRegistry) -> None:
    assert send(make_target(registry, mount_from="c/d")) == (Outcome.SENT, len(DATA))
    assert registry.said.count(f"POST {UPLOADS}") == 1
    assert registry.blobs == {digest(DATA): DATA}


class Tokens:
    """Wants tokens of the right scope; each is good for `uses` requests."""

    def __init__(self, registry: UploadRegistry, *, uses: int, scope: bool = True) -> None:
        self.registry = registry
        self.uses = uses
        self.scope = scope
        self.left: dict[str, tuple[str, int]] = {}
        self.scopes: list[list[str]] = []

    def __call__(self, asked: Asked) -> Fault | None:
        if asked.path == "/token":
            self.scopes.append(list(asked.query["scope"]))
            name = f"t{len(self.scopes)}"
            self.left[f"Bearer {name}"] = (self.scopes[-1][0].rpartition(":")[2], self.uses)
            return Fault(200, body=b'{"token": "%s"}' % name.encode())
        actions = "pull" if asked.method in ("GET", "HEAD") else "pull,push"
        granted, left = self.left.get(asked.authorization, ("", 0))
        if left and actions in granted:
            self.left[asked.authorization] = (granted, left - 1)
            return None
        scope = f',scope="repository:a/b:{actions}"' if self.scope else ""
        realm = f'Bearer realm="http://{self.registry.host}/token",service="tests"{scope}'
        return Fault(401, {"WWW-Authenticate": realm})


@pytest.mark.parametrize("scope", [True, False])
def test_a_token_for_reading_and_one_for_writing(registry: UploadRegistry, scope: bool) -> None:
    tokens = Tokens(registry, uses=10_000, scope=scope)
    registry.fault = tokens
    target = make_target(registry)
    for data in (DATA, DATA[1:]):
        assert not has_blob(target, m.Descriptor(m.OCI_LAYER, Digest.of(data), len(data)))
        send(target, data)
    assert tokens.scopes == [["repository:a/b:pull"], ["repository:a/b:pull,push"]]
    assert set(registry.blobs) == {digest(DATA), digest(DATA[1:])}


def test_a_token_that_expires_between_two_chunks_is_renewed(registry: UploadRegistry) -> None:
    tokens = Tokens(registry, uses=2)
    registry.fault = tokens
    assert send(make_target(registry)) == (Outcome.SENT, len(DATA))
    assert len(tokens.scopes) == 4
    assert registry.blobs == {digest(DATA): DATA}


def test_the_scopes_of_a_mount_are_asked_for_one_by_one(registry: UploadRegistry) -> None:
    scopes = ["repository:a/b:pull,push", "repository:c/d:pull"]
    realm = f'Bearer realm="http://{registry.host}/token",scope="{" ".join(scopes)}"'
    asked_for: list[list[str]] = []

    def fault(asked: Asked) -> Fault | None:
        if asked.path == "/token":
            asked_for.append(list(asked.query["scope"]))
            return Fault(200, body=b'{"token": "t"}')
        return None if asked.authorization else Fault(401, {"WWW-Authenticate": realm})

    registry.fault = fault
    send(make_target(registry, mount_from="c/d"))
    assert asked_for == [scopes]


def logged_in(registry: UploadRegistry) -> Target:
    """Return a target whose requests carry a password; the first answer asks for it."""
    challenge = Fault(401, {"WWW-Authenticate": 'Basic realm="x"'})
    plan = registry.fault
    registry.fault = lambda asked: plan(asked) if asked.authorization else challenge
    return make_target(registry, login="me:secret")


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirected_chunk_is_sent_again_without_the_password(
    registry: UploadRegistry, status: int
) -> None:
    with upload_registry() as other:
        other.sessions["0"] = bytearray()
        place = {"Location": f"http://{other.host}{UPLOADS}0?_state=kept"}
        registry.fault = by_turns("PATCH", [Fault(status, place)])
        assert send(logged_in(registry)) == (Outcome.SENT, len(DATA))
        assert other.blobs == {digest(DATA): DATA}
        assert {asked.authorization for asked in other.asked} == {""}
        assert {asked.authorization[:5] for asked in registry.asked[1:]} == {"Basic"}


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_may_lose_the_body_is_refused(
    registry: UploadRegistry, status: int
) -> None:
    registry.fault = by_turns("PATCH", [Fault(status, {"Location": f"{UPLOADS}0?_state=kept"})])
    with pytest.raises(DependencyError, match=f"redirects what is sent .*HTTP {status}"):
        send(make_target(registry))
    assert len(registry.ranges()) == 1


def test_nothing_is_sent_on_to_another_host(registry: UploadRegistry) -> None:
    with upload_registry() as other:
        place = {"Location": f"http://localhost:{other.port}{UPLOADS}0"}
        registry.fault = by_turns("PATCH", [Fault(307, place)])
        with pytest.raises(DependencyError, match=r"to localhost .HTTP 307., which is not safe"):
            send(make_target(registry))
        assert other.asked == []


@pytest.mark.parametrize(
    ("base", "why"),
    [
        ("http://169.254.169.254", "the metadata service of a cloud"),
        ("ftp://127.0.0.1", "is not the URL of a server"),
    ],
)
def test_sessions_are_not_followed_everywhere(
    registry: UploadRegistry, base: str, why: str
) -> None:
    registry.location_base = base
    with pytest.raises(DependencyError, match=why):
        send(logged_in(registry))
    assert [asked.method for asked in registry.asked].count("POST") <= 2


def test_the_password_does_not_go_to_a_session_elsewhere(registry: UploadRegistry) -> None:
    with upload_registry() as store:
        store.sessions["0"] = bytearray()
        registry.location_base = f"http://localhost:{store.port}"
        store.location_base = registry.location_base
        assert send(logged_in(registry)) == (Outcome.SENT, len(DATA))
        assert store.blobs == {digest(DATA): DATA}
        assert {asked.authorization for asked in store.asked} == {""}
        # Nor does it answer the other's challenge.
        store.sessions["1"] = bytearray()
        store.fault = lambda _: Fault(401, {"WWW-Authenticate": 'Basic realm="x"'})
        with pytest.raises(InputError, match="HTTP 401"):
            send(logged_in(registry), DATA[1:])
        assert {asked.authorization for asked in store.asked} == {""}
