"""Logins that a programmable registry wants: challenges, and tokens that soon are used up."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.lib.caches.caches import dump
from tests.lib.registries.programmable import Registry
from tests.lib.servers.messages import Answer, Request

_REPOSITORY = re.compile(r"/v2/(.+)/(?:blobs|manifests|referrers|tags)/")
BASIC = Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})


def basic(login: str) -> str:
    """Return the Authorization of a login, user:password."""
    return "Basic " + base64.b64encode(login.encode()).decode()


def challenge(registry: Registry, **parts: str) -> Answer:
    """Ask for a token, which is to be had at /token unless `parts` has another realm."""
    values = {"realm": f"{registry.url}/token", "service": "tests", **parts}
    text = ",".join(f'{name}="{value}"' for name, value in values.items())
    return Answer(401, headers={"WWW-Authenticate": f"Bearer {text}"})


def token(value: str, name: str = "token") -> Answer:
    """Give a token."""
    return Answer(200, dump({name: value}))


@dataclass
class Tokens:
    """Guards `registry`: a token is for one scope, and good for `uses` requests.

    With `scope`, a challenge says which one is needed.
    """

    registry: Registry
    uses: int
    scope: bool = True
    given: list[Request] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    granted: Mapping[str, str] = field(default_factory=dict)

    @property
    def scopes(self) -> list[list[str]]:
        """Return the scopes of the tokens, in the order in which they were asked for."""
        return [list(each.query["scope"]) for each in self.given]

    def __call__(self, request: Request) -> Answer | None:
        """Give a token, or ask for one; None to a request with a good one."""
        if request.path == "/token":
            return self._give(request)
        found = _REPOSITORY.match(request.path)
        if found is None:
            return None
        actions = ["pull"] if request.method in ("GET", "HEAD") else ["pull", "push"]
        if self._spend(request.authorization, found[1], actions):
            return None
        wanted = {"scope": f"repository:{found[1]}:{','.join(actions)}"} if self.scope else {}
        return challenge(self.registry, **wanted)

    def _give(self, request: Request) -> Answer:
        self.given.append(request)
        name = f"t{len(self.given) - 1}"
        (scope,) = request.query["scope"]
        self.granted = {**self.granted, f"Bearer {name}": scope}
        self.left[f"Bearer {name}"] = self.uses
        return token(name)

    def _spend(self, authorization: str, repository: str, actions: list[str]) -> bool:
        kind, _, rest = self.granted.get(authorization, "").partition(":")
        name, _, granted = rest.rpartition(":")
        good = (kind, name) == ("repository", repository)
        if not good or not set(actions) <= set(granted.split(",")) or not self.left[authorization]:
            return False
        self.left[authorization] -= 1
        return True
