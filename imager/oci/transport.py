"""What the registry client needs of HTTP, and where its requests may go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from imager.oci.errors import RegistryFailedError, UnsafeAddressError
from imager.support.errors import DependencyError

# What all readers of URLs take for the same host: urllib3 decodes `%34` and ends it at a backslash.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?", re.ASCII)


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
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | None = None,
        origin: str = "",
    ) -> AbstractContextManager[Response]:
        """Return the answer to a request, redirects followed; leaving the context closes it.

        `origin` is the URL of the server that named `url`, empty when the user did. Neither that
        server nor a redirect may lead out of TLS, unless the certificate is not checked anyway, or
        into an internal network: see `addresses`.

        GET and HEAD are retried; others are sent once only, since what they did is not known.
        Those go on to another URL for 307 and 308 alone, and to the same host alone. No header
        that may be a secret goes to another host, port or scheme. Raises NoAnswerError when there
        is no answer, DependencyError for an untrusted certificate, too many redirects or a URL that
        must not be followed, and what iterating over `body` raises.
        """

    def answers(self, url: str, *, origin: str = "") -> bool:
        """Whether a server speaks the URL's scheme there: asked once, and soon given up.

        `origin` is as for `request`. Raises DependencyError when it does, with a certificate that
        is not trusted, and for a URL that must not be followed.
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
    """Return the URL to which `target`, named in the response of `url`, leads.

    A server behind a proxy that ends TLS may name itself with `http`: the scheme is that of `url`
    then. Raises DependencyError when it is not a URL of HTTP.
    """
    here = urlsplit(url)
    try:
        there = urlsplit(urljoin(url, target))
        valid = there.scheme in ("http", "https") and there.port != 0
    except ValueError as error:
        raise RegistryFailedError(f"{here.netloc} refers to {target[:200]!r}: {error}") from error
    if not valid or not _AUTHORITY.fullmatch(there.netloc):
        raise RegistryFailedError(
            f"{here.netloc} refers to {target[:200]!r}, which is not the URL of a server"
        )
    same = there.netloc == here.netloc
    return there._replace(scheme=here.scheme if same else there.scheme).geturl()


def check_scheme(origin: str, url: str) -> None:
    """Raise DependencyError when `url`, which `origin` names, leads out of TLS."""
    here, there = urlsplit(origin), urlsplit(url)
    if here.scheme == "https" and there.scheme != "https":
        raise UnsafeAddressError(
            f"{here.netloc} refers to {there.scheme}://{there.netloc}, which is not encrypted",
            hint="a proxy in front of a registry must pass on the scheme (X-Forwarded-Proto); "
            "--insecure allows plain HTTP",
        )
