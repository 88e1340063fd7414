"""Parse the version ranges of system extensions: `>= v1.5.0 <2.0.0 || 1.4.x`.

Talos reads them with github.com/blang/semver/v4, function ParseRange; this module accepts what
that function documents, with the same meaning. A space is AND, `||` is OR, and a `v` before a
digit is ignored.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from imager.support.errors import InputError
from imager.talos.version import TalosVersion

_OR = "||"
_LONGEST = 1024
_NUMBER = r"(?:0|[1-9]\d{0,17})"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_TERM = re.compile(
    rf"(?P<operator>[^0-9]*)(?P<numbers>{_NUMBER}(?:\.{_NUMBER})*)"
    rf"(?P<wildcards>(?:\.x)*)(?P<pre>-{_IDENTIFIERS})?(?:\+{_IDENTIFIERS})?",
    re.ASCII,
)
_PARTS = 3

# The numbers of a version, and whether it is a release, which follows its prereleases.
_Key = tuple[int, int, int, bool]
_Compare = Callable[[_Key, _Key], bool]
_COMPARISONS: dict[str, _Compare] = {
    "": operator.eq,
    "=": operator.eq,
    "==": operator.eq,
    "!": operator.ne,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True)
class _Comparison:
    compare: _Compare
    key: _Key


@dataclass(frozen=True, slots=True)
class VersionRange:
    """A range as written; it contains a version that fulfills all of one `alternatives`."""

    text: str
    alternatives: tuple[tuple[_Comparison, ...], ...]

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Parse a range; raises InputError."""
        if len(text) > _LONGEST:
            raise InputError(f"a version range of {len(text)} characters is too long")
        plain = re.sub(r"v(?=[0-9])", "", text)
        # Spaces may follow an operator.
        terms = re.sub(r"(?<=[<>=]) +", "", plain).split(" ")
        try:
            return cls(text, tuple(map(_all_of, _alternatives([*filter(None, terms)]))))
        except ValueError as error:
            raise InputError(
                f"{text!r} is not a range of versions: {error}",
                hint="write it like `>= v1.5.0` or `>=1.6.0 <2.0.0`",
            ) from error

    def contains(self, version: TalosVersion) -> bool:
        """Whether the release of `version` is in the range; prereleases count as their release."""
        key = (*version.numbers, True)
        return any(
            all(each.compare(key, each.key) for each in comparisons)
            for comparisons in self.alternatives
        )


def _alternatives(terms: Sequence[str]) -> Iterator[Sequence[str]]:
    start = 0
    for end in (*(at for at, term in enumerate(terms) if term == _OR), len(terms)):
        if start == end:
            raise ValueError(f"there is nothing on one side of {_OR}" if terms else "it is empty")
        yield terms[start:end]
        start = end + 1


def _all_of(terms: Sequence[str]) -> tuple[_Comparison, ...]:
    return tuple(comparison for term in terms for comparison in _comparisons(term))


def _comparisons(term: str) -> list[_Comparison]:
    match = _TERM.fullmatch(term)
    if match is None:
        raise ValueError(f"{term!r} is not a version with a comparison")
    sign = match["operator"]
    if sign not in _COMPARISONS:
        raise ValueError(f"{sign!r} is not a comparison")
    numbers = [*map(int, match["numbers"].split("."))]
    wildcards = match["wildcards"].count("x")
    if wildcards and not match["pre"] and len(numbers) + wildcards in (2, _PARTS):
        return _wildcard(sign, numbers, has_patch=len(numbers) + wildcards == _PARTS)
    if wildcards or len(numbers) != _PARTS:
        raise ValueError(f"{term!r} does not have the three numbers of a version")
    return [_Comparison(_COMPARISONS[sign], _key(numbers, release=not match["pre"]))]


def _wildcard(sign: str, numbers: Sequence[int], *, has_patch: bool) -> list[_Comparison]:
    """Return the comparisons for `1.x` or `1.2.x`.

    As in blang/semver, `1.x.x` stands for `1.0.x`, and `!= 1.2.x` for `<1.2.0 >=1.3.0`, which
    contains nothing.
    """
    major, minor, *_ = (*numbers, 0)
    first = _key((major, minor if has_patch else 0, 0))
    after = _key((major, minor + 1, 0) if has_patch else (major + 1, 0, 0))
    match sign:
        case ">":
            return [_Comparison(operator.ge, after)]
        case ">=":
            return [_Comparison(operator.ge, first)]
        case "<":
            return [_Comparison(operator.lt, first)]
        case "<=":
            return [_Comparison(operator.lt, after)]
        case "!" | "!=":
            return [_Comparison(operator.lt, first), _Comparison(operator.ge, after)]
    return [_Comparison(operator.ge, first), _Comparison(operator.lt, after)]


def _key(numbers: Sequence[int], *, release: bool = True) -> _Key:
    major, minor, patch = numbers
    return major, minor, patch, release
