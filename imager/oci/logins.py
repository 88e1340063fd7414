"""The logins of a client: the Authorization header for each request, shared by threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from imager.oci.authorization import answer_challenge
from imager.oci.credentials import Credentials
from imager.oci.endpoint import api_base
from imager.oci.routing import Route
from imager.oci.transport import Response, Transport, same_origin
from imager.support.errors import ImagerError
from imager.support.workers import OnceEach

# Statuses with which hosts hide from anonymous clients whether something exists.
_HIDING = (403, 404)


class Logins:
    """Sends requests, answers the challenges of hosts, and caches the answers.

    Safe for use by several threads: only one at a time requests the token of a repository.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        # Empty where no login helped.
        self._known: dict[tuple[str, str], str] = {}
        self._locks = OnceEach[tuple[str, str], threading.Lock](lambda _: threading.Lock())
        self._challenges = OnceEach(_own_challenge)

    @contextmanager
    def send(self, route: Route) -> Iterator[Response]:
        """Send a request; after a challenge, send it once more with a login, to the same host only.

        If a host denies an anonymous request without a challenge (403, 404), the challenge of its
        API, /v2/, is answered instead, and a failing login changes nothing. Raises as
        `answer_challenge` for a challenge in the response, and as Transport.request.
        """
        sent = self._known.get(_key(route)) if route.is_own else None
        final = not route.is_own
        while True:
            with route.send(sent) as response:
                login, is_new = (None, True) if final else self._answer(response, route, sent)
                if login is None:
                    yield response
                    return
            sent, final = login, is_new

    def _answer(
        self, response: Response, route: Route, refused: str | None
    ) -> tuple[str | None, bool]:
        """Return the login for a second request, None for no second request, and whether it is new.

        It is not new when another thread has obtained it in the meantime. `refused` is the login
        that the request was sent with.
        """
        hidden = response.status in _HIDING and refused is None
        # After a redirect to another host, neither the login nor the challenge applies.
        own = same_origin(route.root, response.url)
        if not own or (response.status != 401 and not hidden):
            return None, True
        key = _key(route)
        with self._locks.get(key):
            known = self._known.get(key)
            if known != refused:
                return known or None, False
            try:
                known = self._answered(response, route)
            except ImagerError:
                if not hidden:
                    raise
                known = ""
            self._known[key] = known
            return known or None, True

    def _answered(self, response: Response, route: Route) -> str:
        challenge = response.headers.get("WWW-Authenticate", "")
        challenge = challenge or self._challenges.get((route.transport, route.root))
        if response.status != 401 and not challenge:
            return ""
        return answer_challenge(challenge, route, self._credentials)


def _key(route: Route) -> tuple[str, str]:
    """Return the cache key of a token, which is valid for one repository and certain actions."""
    return f"{route.root}/{route.reference.repository}", route.actions


def _own_challenge(host: tuple[Transport, str]) -> str:
    """Return the challenge of a host's API root, empty when the host has no private content.

    OCI distribution specification 1.1, section Determining Support.
    """
    transport, root = host
    with transport.request("GET", api_base(root), headers={}) as response:
        header = response.headers.get("WWW-Authenticate", "")
    return header if response.status == 401 and same_origin(root, response.url) else ""
