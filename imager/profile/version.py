"""Talos versions, and everything that depends on one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import total_ordering

from imager.units import MIB

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


@dataclass(frozen=True, slots=True)
class Quirks:
    """What a Talos version wants of a disk; sizes in bytes."""

    efi_size: int
    minimum_disk_size: int


_BEFORE_1_11 = Quirks(efi_size=1101 * MIB, minimum_disk_size=1246 * MIB)
_FROM_1_11 = Quirks(efi_size=2101 * MIB, minimum_disk_size=2246 * MIB)


def quirks(version: TalosVersion) -> Quirks:
    """Return the rules of `version`.

    With systemd-boot the ESP takes what EFI, BIOS and BOOT take together otherwise: 100 + 1 +
    1000 MiB, from 1.11 on 100 + 1 + 2000 MiB. The smallest disk is Talos's 1246 MiB, and as much
    more from 1.11 on as BOOT has grown.
    """
    return _FROM_1_11 if version.at_least(1, 11) else _BEFORE_1_11
