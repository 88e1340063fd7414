"""Which requests something else is done with than what is right, and the log of all requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lib.servers.faults import Fault
from tests.lib.servers.messages import Request

# Decides what goes wrong with a request; None: an older rule does, or nothing.
Decide = Callable[[Request], Fault | None]


@dataclass(frozen=True, slots=True)
class Where:
    """The requests of a method, of a whole target, and of those with `word` in their target."""

    method: str = ""
    target: str = ""
    word: str = ""

    def matches(self, request: Request) -> bool:
        return (
            self.method in ("", request.method)
            and self.target in ("", request.target)
            and self.word in request.target
        )


ANY = Where()


@dataclass(frozen=True, slots=True)
class Rule:
    """What is done with the requests of a place."""

    where: Where
    decide: Decide


@dataclass(slots=True)
class Rules:
    """Rules; of those that have something to say to a request, the newest is followed."""

    rules: list[Rule] = field(default_factory=list)

    def add(self, where: Where | str, decide: Decide) -> None:
        place = Where(target=where) if isinstance(where, str) else where
        self.rules.insert(0, Rule(place, decide))

    def find(self, request: Request) -> Fault | None:
        for rule in self.rules:
            if rule.where.matches(request) and (fault := rule.decide(request)) is not None:
                return fault
        return None


@dataclass(slots=True)
class Log:
    """All requests, in the order in which they came."""

    requests: list[Request] = field(default_factory=list)

    @property
    def asked(self) -> list[Request]:
        """Return the requests but those for /v2/, which ask whether there is a registry."""
        return [each for each in self.requests if each.path != "/v2/"]

    @property
    def lines(self) -> list[str]:
        """Return method and path of each request but those for /v2/."""
        return [f"{each.method} {each.path}" for each in self.asked]

    def at(self, target: str) -> list[Request]:
        """Return the requests for a target."""
        return [each for each in self.requests if each.target == target]

    def about(self, word: str) -> list[Request]:
        """Return the requests with `word` in their target."""
        return [each for each in self.requests if word in each.target]

    def authorizations(self, target: str) -> list[str]:
        """Return the Authorization of the requests for a target."""
        return [each.authorization for each in self.at(target)]

    def clear(self) -> None:
        self.requests.clear()
