"""Parses the challenges of WWW-Authenticate: RFC 9110, sections 11.2, 11.3 and 11.6.1.

    challenge  = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
    auth-param = token BWS "=" BWS ( token / quoted-string )

A header holds a list of challenges, and several headers count as one list. The comma separates both
challenges and parameters: a word followed by `=` is a parameter, any other word starts a challenge.
Some registries send unquoted values that are not tokens (`scope=repository:a:pull`), so an unquoted
value ends at a comma or white space.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LONGEST = 1 << 16
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SEPARATORS = re.compile(r"[\s,]*")
_SCHEME = re.compile(rf"({_WORD})(?=[\s,]|$)[ \t]*", re.ASCII)
_TOKEN68 = re.compile(r"([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)", re.ASCII)
_PARAMETER = re.compile(
    rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)(?:"|$)|([^\s,"]*))', re.ASCII | re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_GARBAGE = re.compile(r"[^\s,]+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One authentication challenge; the scheme and the parameter names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    token68: str = ""

    def get(self, name: str) -> str:
        """Return the parameter `name` (lower case), empty when it is absent."""
        return self.parameters.get(name, "")


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Parse the challenges of a WWW-Authenticate header, in order.

    Text that does not parse is skipped, and so is everything after the first 64 KiB. If a challenge
    repeats a parameter, the first value counts.
    """
    text, position = header[:_LONGEST], 0
    found: list[Challenge] = []
    while (position := _end(_SEPARATORS, text, position)) < len(text):
        scheme = _SCHEME.match(text, position)
        if scheme is None:
            position = _end(_GARBAGE, text, position)
            continue
        challenge, position = _challenge(scheme[1], text, scheme.end())
        found.append(challenge)
    return tuple(found)


def _challenge(scheme: str, text: str, position: int) -> tuple[Challenge, int]:
    """Parse the challenge whose parameters begin at `position`; also return its end."""
    token = _TOKEN68.match(text, position)
    if token is not None:
        return Challenge(scheme.lower(), token68=token[1]), token.end()
    parameters: dict[str, str] = {}
    while parameter := _PARAMETER.match(text, _end(_SEPARATORS, text, position)):
        name, quoted, plain = parameter.groups()
        value = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
        parameters.setdefault(name.lower(), value)
        position = parameter.end()
    return Challenge(scheme.lower(), parameters), position


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position + 1
