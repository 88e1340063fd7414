"""Talos versions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import total_ordering

DEFAULT_VERSION = "v1.9.0"
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-+].*)?", re.ASCII)
_LATEST = (1 << 30, 0, 0)


@total_ordering
@dataclass(frozen=True, slots=True)
class TalosVersion:
    """A Talos version as it was written, ordered by its numbers.

    A version that does not parse counts as the latest, as in Talos.
    """

    text: str
    numbers: tuple[int, int, int] = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> TalosVersion:
        """Return the version that `text` (`v1.9.0`, `1.9`, `v1.10.0-alpha.1`) names."""
        match = _VERSION.fullmatch(text)
        if match is None:
            return cls(text, _LATEST)
        return cls(text, (int(match[1]), int(match[2]), int(match[3] or 0)))

    def __lt__(self, other: TalosVersion) -> bool:
        return self.numbers < other.numbers

    def at_least(self, major: int, minor: int) -> bool:
        """Whether this is `major.minor` or later."""
        return self.numbers >= (major, minor, 0)
