"""The conformance tests of the OCI distribution specification judge `images cache-serve`."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lib.caches.pullable import PullableCache, PullableImage
from tests.lib.proxies.programmable import running_proxy
from tests.lib.registries.serving import generate_certificates, serving, tls_options
from tests.lib.servers.faults import Altered
from tests.lib.servers.messages import Answer, Request
from tests.lib.servers.rules import ANY
from tests.lib.tools.conformance import Verdict, judge

pytestmark = pytest.mark.oracle

BLOBS = (
    "HEAD request to nonexistent blob should result in 404 response",
    "HEAD request to existing blob should yield 200",
    "GET nonexistent blob should result in 404 response",
    "GET request to existing blob URL should yield 200",
)
# The digest is asked for twice: the suite, when it pushes, has two manifests.
MANIFESTS = (
    "HEAD request to nonexistent manifest should return 404",
    *["HEAD request to manifest path (digest) should yield 200 response"] * 2,
    "HEAD request to manifest path (tag) should yield 200 response",
    "GET nonexistent manifest should return 404",
    *["GET request to manifest path (digest) should yield 200 response"] * 2,
    "GET request to manifest path (tag) should yield 200 response",
)
PULL = (
    "Pull Setup Get tag name from environment",
    *(f"Pull Pull blobs {name}" for name in BLOBS),
    *(f"Pull Pull manifests {name}" for name in MANIFESTS),
    "Pull Error codes 400 response body should contain OCI-conforming JSON message",
)
TAGS = tuple(
    f"Content Discovery Test content discovery endpoints (listing tags) {name}"
    for name in (
        "GET request to list tags should yield 200 response",
        "GET number of tags should be limitable by `n` query parameter",
        "GET start of tag is set by `last` query parameter",
    )
)


def single(pullable: PullableCache, registry: str) -> PullableImage:
    """Return the image of a registry that has a tag and is of one platform."""
    (found,) = (
        image
        for image in pullable.images
        if image.registry == registry and image.tag and not image.index
    )
    return found


def judge_pulling(url: str, image: PullableImage) -> Verdict:
    """Run the category Pull, which pushes nothing, as it is told what is there."""
    return judge(
        url,
        image.repository,
        TEST_PULL="1",
        TAG_NAME=image.tag,
        MANIFEST_DIGEST=image.digest,
        BLOB_DIGEST=image.manifests[0].config_digest,
    )


@pytest.mark.parametrize("scheme", ["http", "tls"])
@pytest.mark.parametrize("registry", ["registry.local:5000", "registry.k8s.io"])
def test_pulling_conforms(
    pullable: PullableCache, tmp_path: Path, registry: str, scheme: str
) -> None:
    options = tls_options(generate_certificates(tmp_path)) if scheme == "tls" else ()
    with serving(pullable.folder, *options) as server:
        verdict = judge_pulling(server.url, single(pullable, registry))
        asked = server.requests()
    assert verdict.failed == ()
    assert Counter(verdict.passed) == Counter(PULL)
    left_out = [name for name in verdict.skipped if name.startswith("Pull ")]
    assert left_out
    assert [name for name in left_out if not name.startswith(("Pull Setup", "Pull Teardown"))] == []
    assert {each["agent"] for each in asked} == {"distribution-spec-conformance-tests"}
    assert {each["method"] for each in asked} == {"GET", "HEAD"}
    assert len(asked) >= len(PULL) - 1


def test_listing_tags_conforms(pullable: PullableCache, tmp_path: Path) -> None:
    image = single(pullable, "registry.k8s.io")
    shutil.copytree(pullable.folder, tmp_path / "cache")
    tags = tmp_path / "cache/manifests/registry.k8s.io" / image.repository / "reference"
    names = [image.tag, "3.8", "3.9", "latest"]
    for name in names[1:]:
        (tags / name).write_bytes(image.root)
    with serving(tmp_path / "cache") as server:
        verdict = judge(
            server.url,
            image.repository,
            focus=r"no push|listing tags",
            TEST_CONTENT_DISCOVERY="1",
            TAG_LIST=",".join(names),
        )
    assert verdict.failed == ()
    assert set(verdict.passed) == {
        *TAGS,
        "Content Discovery Setup Populate registry with test tags (no push)",
    }


def missing_is_there(request: Request, answer: Answer) -> Answer:
    return replace(answer, status=200) if answer.status == 404 else answer


def head_is_refused(request: Request, answer: Answer) -> Answer:
    return replace(answer, status=405) if request.method == "HEAD" else answer


def another_digest(request: Request, answer: Answer) -> Answer:
    headers = {
        key: f"sha256:{'0' * 64}" if key.lower() == "docker-content-digest" else value
        for key, value in answer.headers.items()
    }
    return replace(answer, headers=headers)


def tags_are_gone(request: Request, answer: Answer) -> Answer:
    return replace(answer, status=404) if request.path.endswith("/manifests/3.10") else answer


def no_json(request: Request, answer: Answer) -> Answer:
    if not request.path.endswith("sha256:totallywrong"):
        return answer
    return Answer(400, b"no!")


MANIFEST_TESTS, BLOB_TESTS = "Pull Pull manifests ", "Pull Pull blobs "


@pytest.mark.parametrize(
    ("lie", "objection"),
    [
        (missing_is_there, f"{MANIFEST_TESTS}{MANIFESTS[0]}"),
        (missing_is_there, f"{BLOB_TESTS}{BLOBS[2]}"),
        (head_is_refused, f"{BLOB_TESTS}{BLOBS[1]}"),
        (another_digest, f"{MANIFEST_TESTS}{MANIFESTS[1]}"),
        (tags_are_gone, f"{MANIFEST_TESTS}{MANIFESTS[-1]}"),
        (no_json, PULL[-1]),
    ],
)
def test_the_suite_objects_to_a_registry_that_lies(
    pullable: PullableCache, lie: Callable[[Request, Answer], Answer], objection: str
) -> None:
    image = single(pullable, "registry.k8s.io")
    with serving(pullable.folder) as server, running_proxy(server.address) as proxy:
        proxy.always(ANY, Altered(lie))
        assert objection in judge_pulling(proxy.url, image).failed


def test_the_proxy_alone_changes_nothing(pullable: PullableCache) -> None:
    image = single(pullable, "registry.k8s.io")
    with serving(pullable.folder) as server, running_proxy(server.address) as proxy:
        assert judge_pulling(proxy.url, image).failed == ()
