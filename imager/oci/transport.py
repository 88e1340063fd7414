"""What the registry client needs of HTTP, and where its requests may go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from imager.errors import DependencyError


class Response(Protocol):
    """An answer whose body is read piece by piece."""

    @property
    def status(self) -> int:
        """The HTTP status code."""

    @property
    def url(self) -> str:
        """Where the answer came from, redirects followed: what a Location is relative to."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields; names in any case."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as sent, in pieces of at most 1 MiB, each as soon as it is there.

        Raises ConnectionLostError when the connection ends early or stalls.
        """


class Stream(Protocol):
    """A body of known length that is not in memory; every iteration begins at its start."""

    def __len__(self) -> int:
        """Return the length in bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body in pieces; what is raised here ends the request and goes through."""


Body = bytes | Stream


class Transport(Protocol):
    """Asks for URLs; from several threads at once."""

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: Body | None = None
    ) -> AbstractContextManager[Response]:
        """Return the answer to a request, redirects followed; leaving the context closes it.

        GET and HEAD are retried; others are sent once only, since what they did is not known.
        Those go on to another URL for 307 and 308 alone, and to the same host alone. No header
        that may be a secret goes to another host, port or scheme. Raises NoAnswerError when there
        is no answer, DependencyError for an untrusted certificate, too many redirects or one that
        must not be followed, and what iterating over `body` raises.
        """

    def answers(self, url: str) -> bool:
        """Whether a server speaks the URL's scheme there: asked once, and soon given up.

        Raises DependencyError when it does, with a certificate that is not trusted.
        """


class NoAnswerError(DependencyError):
    """Nobody answered in the scheme that was tried; whether the request arrived is not known."""


def read_bounded(response: Response, limit: int) -> bytes:
    """Return the body, at most `limit` + 1 bytes of it; raises as `Response.chunks`."""
    body = bytearray()
    for chunk in response.chunks():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body[: limit + 1])


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port: RFC 6454."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def follow(url: str, target: str) -> str:
    """Return the URL to which `target`, a Location in the answer of `url`, leads.

    Raises DependencyError when it is none or leads out of TLS.
    """
    here = urlsplit(url)
    try:
        there = urlsplit(urljoin(url, target))
    except ValueError as error:
        raise DependencyError(f"{here.netloc} redirects to {target[:200]!r}: {error}") from error
    if there.scheme not in ("https", here.scheme) or not there.netloc:
        raise DependencyError(
            f"{here.netloc} redirects to {there.scheme}://{there.netloc}, which is not safe",
            hint="a proxy before a registry must tell it the scheme: X-Forwarded-Proto",
        )
    return there.geturl()
