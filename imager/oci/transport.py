"""HTTP for registries: one small interface, and its implementation on requests.

Everything about the connection stands here: TLS, time limits, retries, redirects. What a
registry means by an answer stands in `registry`.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from imager import __version__
from imager.errors import DependencyError
from imager.oci.source import CHUNK

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_RETRIED = frozenset({429, 500, 502, 503, 504})
# How urllib3 begins its messages: with the connection object.
_CONNECTION = re.compile(r"^(<[^>]*>|\w+\(host=[^)]*\)): ")
_CA_HINT = "add its CA to the system's certificates, or pass --insecure"


class Response(Protocol):
    """An answer whose body is read piece by piece."""

    @property
    def status(self) -> int:
        """The HTTP status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields; names in any case."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as sent, in pieces of at most 1 MiB, each as soon as it is there.

        Raises ConnectionLostError when the connection ends early or stalls.
        """


class Transport(Protocol):
    """Asks for URLs; from several threads at once."""

    def get(self, url: str, *, headers: Mapping[str, str]) -> AbstractContextManager[Response]:
        """Return the answer to a GET, redirects followed; leaving the context closes it.

        An Authorization header goes to no other host, port or scheme. Raises DependencyError
        when there is no answer after retries, an untrusted certificate, too many redirects or
        one from https to http.
        """

    def answers(self, url: str) -> bool:
        """Whether a server speaks the URL's scheme there: asked once, and soon given up.

        Raises DependencyError when it does, with a certificate that is not trusted.
        """


class ConnectionLostError(DependencyError):
    """A body broke off or stalled: what came before it is good, and the rest can be asked for."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try: `retries` after the first, waiting `first_delay` seconds, doubled each.

    The same number of retries holds for a request, and for requests in a row that bring nothing
    new of a blob. `longest_delay` bounds a wait, whatever Retry-After says; `connect` and `read`
    are the limits, in seconds, of silence while connecting and between two pieces.
    """

    retries: int = 5
    first_delay: float = 0.5
    longest_delay: float = 60.0
    connect: float = 10.0
    read: float = 60.0
    probe: float = 3.0

    def pause(self, failures: int) -> None:
        """Wait as one does after `failures` requests in a row that brought nothing.

        The wait is between half of the delay and all of it, by chance: clients that were cut off
        together do not come back together.
        """
        # 2.0**1024 would be an error, and every bound is reached long before.
        delay = min(self.first_delay * 2.0 ** min(failures, 64), self.longest_delay)
        time.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311


class _BoundedRetry(Retry):
    """Retries with a bound on what Retry-After can ask for: a server must not stall a build."""

    def parse_retry_after(self, retry_after: str) -> float:
        try:
            return min(super().parse_retry_after(retry_after), self.backoff_max)
        except (ValueError, OverflowError, urllib3.exceptions.InvalidHeader):
            return self.backoff_max


def _retry(patience: Patience) -> Retry:
    return _BoundedRetry(
        total=patience.retries,
        # Certificates do not get better by asking again.
        other=0,
        redirect=False,
        status_forcelist=_RETRIED,
        allowed_methods={"GET"},
        backoff_factor=patience.first_delay,
        backoff_jitter=patience.first_delay,
        backoff_max=patience.longest_delay,
        raise_on_status=False,
    )


class _Session(requests.Session):
    """A session that sends what it is told, once."""

    def __init__(self) -> None:
        super().__init__()
        # Without this, requests puts what ~/.netrc has in place of our Authorization header.
        self.auth = _unchanged

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        """Return None: the caller follows; requests would read the body of any length first."""
        return


class _Sessions(threading.local):
    """A session for every thread: requests does not promise that one can be shared."""

    def __init__(self, patience: Patience) -> None:
        self.own = _Session()
        for scheme in ("https://", "http://"):
            self.own.mount(scheme, HTTPAdapter(max_retries=_retry(patience)))


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


@dataclass(frozen=True, slots=True)
class _Answer:
    url: str
    response: requests.Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        return self.response.headers

    def chunks(self) -> Iterator[bytes]:
        done = 0
        try:
            # read() would lose what it has of a piece when the connection breaks in it.
            while data := self.response.raw.read1(CHUNK, decode_content=False):
                done += len(data)
                yield data
        except (urllib3.exceptions.HTTPError, OSError) as error:
            host = urlsplit(self.url).netloc
            raise ConnectionLostError(
                f"connection to {host} was lost after {done} bytes: {_reason(error)}",
                hint="check the network and run the command again",
            ) from error


class HttpTransport:
    """A Transport on requests; `verify_tls=False` takes any certificate.

    Every thread that uses it has connections of its own.
    """

    def __init__(self, *, verify_tls: bool = True, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._verify = verify_tls
        self._sessions = _Sessions(self._patience)
        if not verify_tls:
            # It was asked for; a warning a request would bury everything else.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    @contextlib.contextmanager
    def get(self, url: str, *, headers: Mapping[str, str]) -> Iterator[Response]:
        """Ask for `url`; see Transport."""
        timeout = (self._patience.connect, self._patience.read)
        sent = {
            "User-Agent": f"imager/{__version__}",
            # A body that is compressed on the way has another digest.
            "Accept-Encoding": "identity",
            **headers,
        }
        for _ in range(_MOST_REDIRECTS + 1):
            with self._ask(self._sessions.own, url, sent, timeout) as response:
                target = response.headers.get("Location")
                if response.status_code not in _REDIRECTS or not target:
                    yield _Answer(url, response)
                    return
            url, sent = _redirected(url, target, sent)
        raise DependencyError(f"{url}: more than {_MOST_REDIRECTS} redirects")

    def answers(self, url: str) -> bool:
        """Whether a server speaks the scheme; see Transport."""
        timeout = (self._patience.probe, self._patience.probe)
        with _Session() as session:
            try:
                with self._ask(session, url, {}, timeout) as response:
                    # What TLS servers answer to plain HTTP.
                    return response.status_code != 400
            except _NoAnswerError:
                return False

    def _ask(
        self,
        session: requests.Session,
        url: str,
        headers: Mapping[str, str],
        timeout: tuple[float, float],
    ) -> requests.Response:
        host = urlsplit(url).netloc
        try:
            # The session's own `verify` would yield to $REQUESTS_CA_BUNDLE.
            return session.get(
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=timeout,
                verify=None if self._verify else False,
            )
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise DependencyError(
                    f"{host}: its TLS certificate is not trusted: {_reason(error)}", hint=_CA_HINT
                ) from error
            raise _NoAnswerError(
                f"{host} does not speak TLS: {_reason(error)}",
                hint="for a registry on plain HTTP, pass --insecure",
            ) from error
        except requests.exceptions.RequestException as error:
            raise _NoAnswerError(
                f"no answer from {host}: {_reason(error)}",
                hint="check the registry's name, the network and the proxy settings",
            ) from error


class _NoAnswerError(DependencyError):
    """Nobody answered in the scheme that was tried."""


def _redirected(url: str, target: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Return where a redirect leads, and the headers that may go there."""
    here = urlsplit(url)
    try:
        there = urlsplit(urljoin(url, target))
    except ValueError as error:
        raise DependencyError(f"{here.netloc} redirects to {target[:200]!r}: {error}") from error
    if there.scheme not in ("https", here.scheme) or not there.netloc:
        raise DependencyError(
            f"{here.netloc} redirects to {there.scheme}://{there.netloc}, which is not safe"
        )
    if (here.scheme, here.netloc) != (there.scheme, there.netloc):
        headers = {name: value for name, value in headers.items() if name != "Authorization"}
    return there.geturl(), headers


def _reason(error: BaseException) -> str:
    """Return the innermost cause that requests and urllib3 wrapped, without object addresses."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _CONNECTION.sub("", str(error)) or type(error).__name__
