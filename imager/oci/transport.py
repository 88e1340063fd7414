"""The HTTP interface that the registry client uses, and the rules for its redirects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from imager.oci.errors import RegistryFailedError, RegistryUnreachableError, UnsafeAddressError

# Hosts that all URL parsers read alike: urllib3 decodes `%34` and ends a host at a backslash.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?", re.ASCII)


class Response(Protocol):
    """A response whose body is read in pieces."""

    @property
    def status(self) -> int:
        """The HTTP status code."""

    @property
    def url(self) -> str:
        """The URL of the response after redirects, to which a Location is relative."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields; names are case-insensitive."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as sent, in pieces of at most 1 MiB, each as soon as it arrives.

        Raises ConnectionLostError when the connection ends early or stalls.
        """


class Stream(Protocol):
    """A request body of known length, not in memory; each iteration starts at the beginning."""

    def __len__(self) -> int:
        """Return the length in bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body in pieces; exceptions raised here abort the request and propagate."""


Body = bytes | Stream


class Transport(Protocol):
    """Sends HTTP requests; thread-safe."""

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | None = None,
        origin: str = "",
    ) -> AbstractContextManager[Response]:
        """Return the response to a request after redirects; leaving the context closes it.

        `origin` is the URL of the server that referred to `url`, empty when the user chose it.
        Neither that server nor a redirect may lead from HTTPS to HTTP, unless certificates are not
        checked, or into an internal network: see `addresses`.

        GET and HEAD are retried; other methods are sent once, as it is unknown whether a failed
        request took effect. They follow redirects only for 307 and 308, and only to the same host.
        Headers that may be secret are not sent to another host, port or scheme. Raises
        NoAnswerError when there is no response, DependencyError for an untrusted certificate, too
        many redirects or a forbidden URL, and any exception of iterating over `body`.
        """

    def answers(self, url: str, *, origin: str = "") -> bool:
        """Return whether a server answers in the URL's scheme; one request, with a short timeout.

        `origin` is as for `request`. Raises DependencyError when the server's certificate is not
        trusted, and for a forbidden URL.
        """


class NoAnswerError(RegistryUnreachableError):
    """No server answered in the scheme that was tried; the request may or may not have arrived."""


def read_bounded(response: Response, limit: int) -> bytes:
    """Read the body, at most `limit` + 1 bytes of it; raises as `Response.chunks`."""
    body = bytearray()
    for chunk in response.chunks():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body[: limit + 1])


def same_origin(one: str, other: str) -> bool:
    """Return whether two URLs have the same scheme, host and port: RFC 6454."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def follow(url: str, target: str) -> str:
    """Resolve `target`, a URL from the response of `url`.

    A server behind a proxy that terminates TLS may refer to itself by `http`; the scheme of `url`
    is kept then. Raises DependencyError when the result is not an HTTP or HTTPS URL.
    """
    here = urlsplit(url)
    try:
        there = urlsplit(urljoin(url, target))
        valid = there.scheme in ("http", "https") and there.port != 0
    except ValueError as error:
        raise RegistryFailedError(f"{here.netloc} refers to {target[:200]!r}: {error}") from error
    if not valid or not _AUTHORITY.fullmatch(there.netloc):
        raise RegistryFailedError(
            f"{here.netloc} refers to {target[:200]!r}, which is not a valid URL"
        )
    same = there.netloc == here.netloc
    return there._replace(scheme=here.scheme if same else there.scheme).geturl()


def check_scheme(origin: str, url: str) -> None:
    """Raise DependencyError when `url`, given by `origin`, leads from HTTPS to HTTP."""
    here, there = urlsplit(origin), urlsplit(url)
    if here.scheme == "https" and there.scheme != "https":
        raise UnsafeAddressError(
            f"{here.netloc} refers to {there.scheme}://{there.netloc}, which is not encrypted",
            hint="a proxy in front of a registry must pass on the scheme (X-Forwarded-Proto); "
            "--insecure allows plain HTTP",
        )
