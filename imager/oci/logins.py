"""The logins of a client: which Authorization header goes with which request, shared by threads."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from imager.oci.authorization import Asked, Authorizer
from imager.oci.credentials import Credentials
from imager.oci.endpoint import api_base
from imager.oci.transport import Response, Transport, same_origin
from imager.support.errors import ImagerError

# What hosts answer to the anonymous where they do not say what they have.
_HIDING = (403, 404)


@dataclass(frozen=True, slots=True)
class Place:
    """A request to the API at `root`, and how to reach it.

    A token is for one repository and for the actions asked for; another scheme or another path of
    a host is another place.
    """

    transport: Transport
    root: str
    asked: Asked

    @property
    def key(self) -> tuple[str, str]:
        """What a token is kept by."""
        return f"{self.root}/{self.asked.reference.repository}", self.asked.actions


@dataclass(frozen=True, slots=True)
class Answer:
    """An Authorization header to ask again with; `is_new` unless another thread got it."""

    authorization: str
    is_new: bool


class Logins:
    """Answers the challenges of hosts, and keeps the answers.

    Several threads may use it: one of them at a time asks for the token of a repository.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        # Empty where no login has helped.
        self._known: dict[tuple[str, str], str] = {}
        # What hosts ask for where nothing is private, by their roots.
        self._challenges: dict[str, str] = {}
        self._locks: dict[object, threading.Lock] = {}

    def known(self, place: Place) -> str | None:
        """Return the Authorization header to begin with, None when nothing has been tried."""
        return self._known.get(place.key)

    def answer(self, response: Response, place: Place, refused: str | None) -> Answer | None:
        """Return what to ask again with after `response`, None when it is to be taken as it is.

        `refused` is what `known` returned for the request. Where a host denies an anonymous
        request without a challenge, that of its API is answered, and a login that fails changes
        nothing. Raises as `Authorizer.answer` for a challenge that came with the response.
        """
        hidden = response.status in _HIDING and refused is None
        # Of a redirect to another host, neither login nor challenge counts.
        own = same_origin(place.root, response.url)
        if not own or (response.status != 401 and not hidden):
            return None
        with self._lock(place.key):
            known = self._known.get(place.key)
            if known != refused:
                return Answer(known, is_new=False) if known else None
            try:
                known = self._answered(response, place)
            except ImagerError:
                if not hidden:
                    raise
                known = ""
            self._known[place.key] = known
            return Answer(known, is_new=True) if known else None

    def _answered(self, response: Response, place: Place) -> str:
        challenge = response.headers.get("WWW-Authenticate", "") or self._own_challenge(place)
        if response.status != 401 and not challenge:
            return ""
        return Authorizer(place.transport, self._credentials).answer(challenge, place.asked)

    def _own_challenge(self, place: Place) -> str:
        """Return the challenge of a host's API itself, empty when it has none.

        OCI distribution specification 1.1, section Determining Support.
        """
        with self._lock(place.root):
            if place.root not in self._challenges:
                with place.transport.request("GET", api_base(place.root), headers={}) as response:
                    header = response.headers.get("WWW-Authenticate", "")
                own = response.status == 401 and same_origin(place.root, response.url)
                self._challenges[place.root] = header if own else ""
            return self._challenges[place.root]

    def _lock(self, key: object) -> threading.Lock:
        return self._locks.setdefault(key, threading.Lock())
