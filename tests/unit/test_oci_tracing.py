"""What is logged while a registry is asked: why something is tried again, and each request."""

from __future__ import annotations

import logging

import pytest

from imager.oci.tracing import public_url
from imager.support.errors import DependencyError
from tests.lib.registries.client import fetch, image
from tests.lib.registries.programmable import Registry
from tests.lib.registries.sample import BLOB, BLOB_PATH, ROOT
from tests.lib.servers.faults import Cut
from tests.lib.servers.messages import Answer


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "imager")
    return caplog


def told(log: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [each.getMessage() for each in log.records if each.levelno == level]


def test_a_busy_registry(server: Registry, log: pytest.LogCaptureFixture) -> None:
    server.fault(ROOT, Answer(503), Answer(429, headers={"Retry-After": "0.02"}))
    image(server).root()
    first, second = told(log, logging.INFO)
    assert first == f"{server.url}{ROOT}: HTTP 503; trying again now"
    assert second.startswith(f"{server.url}{ROOT}: HTTP 429; trying again ")
    assert log.records[-1].__dict__["fields"]["outcome"] == 200


def test_a_body_that_breaks_off(server: Registry, log: pytest.LogCaptureFixture) -> None:
    server.fault(BLOB_PATH, Cut(len(BLOB) // 2))
    assert fetch(image(server)) == BLOB
    (retry,) = told(log, logging.INFO)
    assert retry.startswith(
        f"connection to 127.0.0.1:{server.port} was lost after {len(BLOB) // 2} bytes: "
        "it was closed early; trying again "
    )


def test_every_request(server: Registry, log: pytest.LogCaptureFixture) -> None:
    place = "/store/x?X-Amz-Signature=secret"
    server.always(BLOB_PATH, Answer(307, headers={"Location": place}))
    server.always(place, Answer(200, BLOB))
    fetch(image(server))
    texts = told(log, logging.DEBUG)
    assert [text.partition(", ")[0] for text in texts[-2:]] == [
        f"GET {server.url}{BLOB_PATH}: HTTP 307",
        f"GET {server.url}/store/x?...: HTTP 200",
    ]
    assert "secret" not in log.text


def test_nobody_answers(log: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DependencyError):
        image(Registry(port=1)).root()
    assert told(log, logging.INFO)[0].endswith("Connection refused; trying again now")
    assert "Connection refused, " in told(log, logging.DEBUG)[-1]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a:b@x.io:5000/v2/?token=t", "https://x.io:5000/v2/?..."),
        ("http://x.io/v2/a/b", "http://x.io/v2/a/b"),
        ("http://[::1]:5000/v2/", "http://[::1]:5000/v2/"),
    ],
)
def test_urls_without_secrets(url: str, shown: str) -> None:
    assert public_url(url) == shown
