"""Parse and compare Talos versions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import total_ordering

from imager.talos.errors import InvalidVersionError

DEFAULT_VERSION = "v1.9.0"
# The newest release of which everything is in a table; one may be newer than the other.
# How a release boots: `versions.py`, `kernel_arguments.py`, `platforms.py`.
NEWEST_RULES = (1, 14)
# What its configuration has: `config/kinds.py`, `config/volumes.py`, `config/disk.py`.
NEWEST_KINDS = (1, 14)
_NUMBER = r"(0|[1-9]\d{0,4})"
# semver.org 2.0.0; the patch number may be left out.
_VERSION = re.compile(
    rf"v?{_NUMBER}\.{_NUMBER}(?:\.{_NUMBER})?(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
_LONGEST = 64


@total_ordering
@dataclass(frozen=True, slots=True)
class TalosVersion:
    """A Talos version as written, ordered by its numbers."""

    text: str
    numbers: tuple[int, int, int] = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> TalosVersion:
        """Parse `text` (`v1.9.0`, `1.9`, `v1.10.0-alpha.1`).

        Raises InputError for an invalid version. Talos would assume its latest release instead;
        here, a typo would then silently change partitions, boot menu and kernel arguments.
        """
        match = _VERSION.fullmatch(text)
        if match is None or len(text) > _LONGEST:
            example = "v{}.{}.0".format(*NEWEST_RULES)
            shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
            raise InvalidVersionError(
                f"{shown!r} is not a Talos version such as {example}",
                hint=f"write it as {example} or {example}-alpha.1",
            )
        return cls(text, (int(match[1]), int(match[2]), int(match[3] or 0)))

    def __lt__(self, other: TalosVersion) -> bool:
        return self.numbers < other.numbers

    def at_least(self, major: int, minor: int, patch: int = 0) -> bool:
        """Whether this is `major.minor.patch` or later."""
        return self.numbers >= (major, minor, patch)

    def lacks(self, what: str, since: tuple[int, int]) -> str:
        """Return the message that this version does not have `what`, which `since` added."""
        return f"Talos {self.text} has no {what}, which v{'.'.join(map(str, since))} added"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user: this version is newer than the rules known here."""
        if self.numbers[:2] <= NEWEST_RULES:
            return ()
        newest = "v{}.{}".format(*NEWEST_RULES)
        return (
            f"Talos {self.text} is newer than {newest}, the newest release that this program"
            f" knows: the rules of {newest} are used",
        )
