"""The HTTP transport for registries, on urllib3.

Handles timeouts, redirects and connection failures; `retry` handles retries, `tls` TLS, and
`failures` the responses of a registry.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError
from urllib3.util import Retry, Timeout

from imager import __version__
from imager.content.reading import CHUNK
from imager.oci.addresses import Resolve, check_destination, only_literal, resolve_host
from imager.oci.connections import Connections, proxy_for
from imager.oci.errors import RegistryFailedError, UnsafeAddressError, UntrustedCertificateError
from imager.oci.httpretry import reason_of, request_retries
from imager.oci.retry import READING, ConnectionLostError, Patience
from imager.oci.tls import DEFAULT_TLS, TlsSettings
from imager.oci.tracing import log_request, public_url
from imager.oci.transport import Body, NoAnswerError, Response, check_scheme, follow, same_origin
from imager.support.errors import DependencyError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# RFC 9110, 15.4: clients may turn a request into a GET for other redirects.
_RESENDING = frozenset({307, 308})
_MOST_REDIRECTS = 5
_CA_HINT = "give its CA with --registry-ca, add it to the system's certificates, or pass --insecure"
_EXPIRED_HINT = "check the clock of this machine, renew the certificate, or pass --insecure"
# Headers that may be sent to another server than the first one.
_HARMLESS = frozenset(
    {
        *("accept", "accept-encoding", "range", "user-agent"),
        *("content-length", "content-range", "content-type"),
    }
)


@dataclass(frozen=True, slots=True)
class _Answer:
    url: str
    status: int
    headers: Mapping[str, str]
    response: urllib3.BaseHTTPResponse

    def chunks(self) -> Iterator[bytes]:
        done = 0
        try:
            # read() would lose a partly received piece when the connection breaks.
            while data := self.response.read1(CHUNK, decode_content=False):
                done += len(data)
                yield data
        except (HTTPError, OSError) as error:
            host = urlsplit(self.url).netloc
            raise ConnectionLostError(
                f"connection to {host} was lost after {done} bytes: {reason_of(error)}",
                hint="check the network and run the command again",
            ) from error


@dataclass(frozen=True, slots=True)
class _Limits:
    timeout: Timeout
    retries: Retry


class HttpTransport:
    """A Transport on urllib3 that honours $HTTP_PROXY, $HTTPS_PROXY and $NO_PROXY.

    Requests raise InputError when a file of `tls` is invalid.
    """

    def __init__(
        self,
        *,
        tls: TlsSettings = DEFAULT_TLS,
        patience: Patience | None = None,
        resolve: Resolve = resolve_host,
    ) -> None:
        self._patience = patience or Patience()
        self._verify = tls.verify
        self._resolve = functools.cache(resolve)
        self._connections = Connections(tls)
        if not tls.verify:
            # The user asked for it; one warning for each request would drown everything else.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: Body | None = None,
        origin: str = "",
    ) -> Iterator[Response]:
        """Send a request for `url`; see Transport."""
        if origin:
            self._check_way(origin, url)
        first = origin or url
        # While sending a body, urllib3 uses the connect timeout as the limit for silence.
        connect = self._patience.read if body else self._patience.connect
        timeout = Timeout(connect=connect, read=self._patience.read)
        limits = _Limits(timeout, request_retries(self._patience, url))
        sent = {
            "User-Agent": f"imager/{__version__}",
            # Compressed in transit, a body has another digest.
            "Accept-Encoding": "identity",
            **headers,
        }
        if body is not None:
            # Otherwise urllib3 sends a Stream in chunks, which registries may reject.
            sent["Content-Length"] = str(len(body))
        for _ in range(_MOST_REDIRECTS + 1):
            with self._ask(method, url, limits, headers=sent, body=body) as response:
                target = response.headers.get("Location")
                if response.status not in _REDIRECTS or not target:
                    yield _Answer(url, response.status, response.headers, response)
                    return
                status = response.status
            there = follow(url, target)
            self._check_way(url, there, first)
            if method not in READING:
                _check_resending(url, there, status)
            if not same_origin(url, there):
                sent = {name: value for name, value in sent.items() if name.lower() in _HARMLESS}
            url = there
        raise RegistryFailedError(
            f"{public_url(url)}: more than {_MOST_REDIRECTS} redirects",
            hint="the registry or a proxy in front of it redirects in a loop: contact its operator",
        )

    def _check_way(self, here: str, there: str, first: str = "") -> None:
        """Raise DependencyError unless the server at `here` may refer to `there`.

        `first` is the URL that the user chose, or the one that referred to `here`.
        """
        # If any certificate is accepted, TLS is no safer than plain HTTP.
        if self._verify:
            check_scheme(here, there)
        begun = first or here
        check_destination(
            begun, there, self._looked_up(there), resolve_origin=self._looked_up(begun)
        )

    def _looked_up(self, url: str) -> Resolve:
        return only_literal if proxy_for(url) else self._resolve

    def answers(self, url: str, *, origin: str = "") -> bool:
        """Return whether a server supports the scheme; see Transport."""
        if origin:
            self._check_way(origin, url)
        timeout = Timeout(connect=self._patience.probe, read=self._patience.probe)
        once = _Limits(timeout, Retry(0))
        try:
            with self._ask("GET", url, once, headers={}) as response:
                # The response of TLS servers to plain HTTP.
                return response.status != 400
        except NoAnswerError:
            return False

    @contextlib.contextmanager
    def _ask(
        self,
        method: str,
        url: str,
        limits: _Limits,
        *,
        headers: Mapping[str, str],
        body: Body | None = None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        host = urlsplit(url).netloc
        begun = time.monotonic()
        try:
            response = self._connections.to(url).urlopen(
                method,
                url,
                body=body,
                headers=headers,
                timeout=limits.timeout,
                retries=limits.retries,
                redirect=False,
                preload_content=False,
            )
        except HTTPError as error:
            log_request(method, url, reason_of(error), time.monotonic() - begun)
            cause = error.reason if isinstance(error, MaxRetryError) else error
            if isinstance(cause, SSLError):
                raise _tls_failure(host, cause) from error
            raise NoAnswerError(
                f"no answer from {host}: {reason_of(error)}",
                hint="check the registry's name, the network and the proxy settings",
            ) from error
        log_request(method, url, response.status, time.monotonic() - begun)
        try:
            yield response
        finally:
            # The connection of a body read to its end is back in the pool already.
            response.close()


def _tls_failure(host: str, error: SSLError) -> DependencyError:
    text, reason = str(error), reason_of(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        expired = "certificate has expired" in text
        return UntrustedCertificateError(
            f"{host}: its TLS certificate is not trusted: {reason}",
            hint=_EXPIRED_HINT if expired else _CA_HINT,
        )
    if "CERTIFICATE_REQUIRED" in text or "ALERT_BAD_CERTIFICATE" in text:
        return UntrustedCertificateError(
            f"{host} requires a client certificate: {reason}",
            hint="give one with --registry-client-cert",
        )
    return NoAnswerError(
        f"{host} does not speak TLS: {reason}",
        hint="for a registry on plain HTTP, pass --insecure",
    )


def _check_resending(url: str, there: str, status: int) -> None:
    """Check a redirect of a request that writes: it must be resent unchanged, to the same host."""
    here, host = urlsplit(url).hostname, urlsplit(there).hostname
    if status not in _RESENDING or here != host:
        raise UnsafeAddressError(
            f"{here} redirects an upload or login to {host} (HTTP {status}), which is not safe",
            hint="use the host name at which the registry itself accepts uploads",
        )
