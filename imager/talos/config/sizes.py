"""Parse volume sizes in machine configurations.

https://docs.siderolabs.com/talos/latest/reference/configuration/block/volumeconfig: a size is in
bytes or a human-readable size. Since Talos 1.12, a maximum may be a percentage of the disk, and in
later releases a negative value: the space to leave free.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imager.support.errors import InputError
from imager.support.units import format_size, parse_bytes

_PERCENT = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)%", re.ASCII)


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """A maximum volume size: `percent` of the disk plus `size` bytes, which may be negative."""

    size: int
    percent: int = 0

    @property
    def is_fixed(self) -> bool:
        """Whether the limit is independent of the disk."""
        return not self.percent

    def of_disk(self, disk_size: int) -> int:
        """Return the limit in bytes, at least 0, on a disk of `disk_size` bytes."""
        return max(0, disk_size * self.percent // 100 + self.size)

    def __str__(self) -> str:
        if self.is_fixed:
            return format_size(self.size)
        if not self.size:
            return f"{self.percent} % of the disk"
        return f"the disk without {format_size(-self.size)}"


def parse_volume_size(text: str) -> int:
    """Parse a size (`2.5GiB`, `100MB`, `2G`, `512`) into bytes; raises InputError."""
    if text.startswith("-"):
        raise InputError(f"{text!r} is negative")
    return parse_bytes(text)


def parse_size_limit(text: str) -> SizeLimit:
    """Parse a limit (a size, `80%`, `-10GiB`, `-20%`); raises InputError."""
    is_negative, positive = text.startswith("-"), text.removeprefix("-")
    if "%" not in text:
        size = parse_bytes(positive)
        return SizeLimit(-size, 100) if is_negative else SizeLimit(size)
    match = _PERCENT.fullmatch(positive)
    if match is None or not 0 <= float(match[1]) <= 100:
        raise InputError(f"{text!r} is not a percentage from 0% to 100%")
    percent = int(float(match[1]))  # as in Talos, the fraction is dropped
    return SizeLimit(0, 100 - percent if is_negative else percent)
