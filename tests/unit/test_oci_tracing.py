"""What is logged while a registry is asked: why something is tried again, and each request."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from imager.errors import DependencyError
from imager.oci.tracing import public_url
from tests.lib.registries.scripted_registry import (
    BLOB,
    BLOB_PATH,
    GOOD,
    ROOT,
    Reply,
    Server,
    fetch,
    image,
    serving,
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        running.replies[ROOT] = [GOOD]
        yield running


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "imager")
    return caplog


def told(log: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [each.getMessage() for each in log.records if each.levelno == level]


def test_a_busy_registry(server: Server, log: pytest.LogCaptureFixture) -> None:
    server.replies[ROOT] = [Reply(503), Reply(429, headers={"Retry-After": "0.02"}), GOOD]
    image(server).root()
    first, second = told(log, logging.INFO)
    assert first == f"{server.url}{ROOT}: HTTP 503; trying again now"
    assert second.startswith(f"{server.url}{ROOT}: HTTP 429; trying again ")
    assert log.records[-1].__dict__["fields"]["outcome"] == 200


def test_a_body_that_breaks_off(server: Server, log: pytest.LogCaptureFixture) -> None:
    half = Reply(200, BLOB[: len(BLOB) // 2], {"Content-Length": str(len(BLOB))})
    server.replies[BLOB_PATH] = [half, Reply(200, BLOB)]
    assert fetch(image(server)) == BLOB
    (retry,) = told(log, logging.INFO)
    assert retry.startswith(
        f"connection to 127.0.0.1:{server.port} was lost after {len(BLOB) // 2} bytes: "
        "it was closed early; trying again "
    )


def test_every_request(server: Server, log: pytest.LogCaptureFixture) -> None:
    server.replies[BLOB_PATH] = [
        Reply(307, headers={"Location": "/store/x?X-Amz-Signature=secret"}),
    ]
    server.replies["/store/x?X-Amz-Signature=secret"] = [Reply(200, BLOB)]
    fetch(image(server))
    texts = told(log, logging.DEBUG)
    assert [text.partition(", ")[0] for text in texts[-2:]] == [
        f"GET {server.url}{BLOB_PATH}: HTTP 307",
        f"GET {server.url}/store/x?...: HTTP 200",
    ]
    assert "secret" not in log.text


def test_nobody_answers(log: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DependencyError):
        image(Server(port=1)).root()
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
