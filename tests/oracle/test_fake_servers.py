"""The registry and the proxy of the tests, judged by those who know what is right.

What goes wrong where a test tells them nothing would else be taken for a fault of the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.caches.caches import layout_blobs
from tests.lib.proxies.programmable import running_proxy
from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.registry import copy_image, make_layout, running_registry
from tests.lib.servers.messages import Answer
from tests.lib.servers.rules import Where
from tests.lib.tools.conformance import Verdict, judge
from tests.lib.tools.crane import crane

pytestmark = pytest.mark.oracle


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_programmable() as running:
        yield running


def judge_all(url: str) -> Verdict:
    """Run the tests of all that a registry does but deleting."""
    return judge(
        url,
        "team/app",
        TEST_PULL="1",
        TEST_PUSH="1",
        TEST_CONTENT_DISCOVERY="1",
        CROSSMOUNT_NAMESPACE="team/other",
    )


@pytest.mark.parametrize("proxied", [False, True])
def test_the_suite_of_oci_finds_nothing(registry: Registry, proxied: bool) -> None:
    with running_proxy(registry.host) as proxy:
        verdict = judge_all(proxy.url if proxied else registry.url)
    assert verdict.failed == ()
    for category in ("Pull Pull", "Push Blob Upload", "Push Manifest", "Content Discovery Test"):
        assert any(name.startswith(category) for name in verdict.passed)
    assert bool(proxy.log.requests) == proxied
    assert "PATCH" in {each.method for each in registry.log.requests}


def test_the_suite_finds_a_fault(registry: Registry) -> None:
    registry.always(Where("PATCH"), Answer(500))
    failed = judge_all(registry.url).failed
    assert "Push Blob Upload Chunked PATCH request with first chunk should return 202" in failed


def test_skopeo_and_crane_copy(registry: Registry, tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout")
    one, two = f"{registry.host}/team/one:v1", f"{registry.host}/team/two:v1"
    copy_image(f"oci:{layout}:v1", f"docker://{one}", "--dest-tls-verify=false")
    crane("copy", "--insecure", one, two)
    back = tmp_path / "back"
    copy_image(f"docker://{two}", f"oci:{back}:v1", "--src-tls-verify=false")
    names = {path.name for path in layout_blobs(layout).values()}
    assert {path.name for path in (back / "blobs/sha256").iterdir()} == names


def test_a_proxy_before_a_real_registry(tmp_path: Path) -> None:
    layout = make_layout(tmp_path / "layout")
    with (
        running_registry(tmp_path / "registry") as registry,
        running_proxy(registry.host) as proxy,
    ):
        name = f"{proxy.host}/team/app:v1"
        copy_image(f"oci:{layout}:v1", f"docker://{name}", "--dest-tls-verify=false")
        assert crane("digest", "--insecure", name) == crane(
            "digest", "--insecure", f"{registry.host}/team/app:v1"
        )
