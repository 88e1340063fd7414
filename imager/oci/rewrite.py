"""Rewrites repository names for a mirror: `rewrite` of hosts.toml, as in k3s and RKE2.

https://docs.k3s.io/installation/private-registry#rewrites. Patterns and replacements use the syntax
of Go's package regexp: `$1`, `${1}` and `${name}` are groups, `$$` is a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from imager.oci.errors import InvalidRegistrySettingsError
from imager.oci.reference import is_repository

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A regular expression, searched for anywhere in a name, and the replacement of each match."""

    pattern: re.Pattern[str]
    replacement: str

    @classmethod
    def parse(cls, pattern: str, replacement: str) -> Rewrite:
        """Parse a rule; raises InputError when `pattern` is not a regular expression."""
        try:
            return cls(re.compile(pattern, re.ASCII), replacement)
        except (re.error, RecursionError, OverflowError) as error:
            raise InvalidRegistrySettingsError(
                f"rewrite: {pattern[:200]!r} is not a regular expression: {error}"
            ) from error

    def apply(self, repository: str) -> str:
        """Return `repository` with every match replaced."""
        return self.pattern.sub(self._expanded, repository)

    def _expanded(self, match: re.Match[str]) -> str:
        return _VARIABLE.sub(lambda found: _value(match, found), self.replacement)


def rewritten(repository: str, rules: Sequence[Rewrite]) -> str:
    """Apply the first rule that changes `repository`.

    Raises InputError when the result is not a valid repository name.
    """
    names = (rule.apply(repository) for rule in rules)
    name = next((name for name in names if name != repository), repository)
    if not is_repository(name):
        raise InvalidRegistrySettingsError(
            f"rewrite turns {repository} into {name[:200]!r}, which is not a repository name",
            hint="correct the rules in hosts.toml",
        )
    return name


def _value(match: re.Match[str], variable: re.Match[str]) -> str:
    if variable[1]:
        return "$"
    name = variable[2] or variable[3]
    try:
        return match[int(name) if name.isdigit() else name] or ""
    except IndexError:  # as in Go, a group that does not exist is empty
        return ""
