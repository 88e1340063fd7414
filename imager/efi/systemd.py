"""Read the version of systemd's EFI binaries from their LoaderInfo text."""

from __future__ import annotations

import re
from typing import Literal

from imager.content.extents import Content
from imager.content.reading import read_content

_LIMIT = 16 << 20
_LOADER_INFO = re.compile(rb"#### LoaderInfo: systemd-(boot|stub) ([ -~]{1,60}) ####")
_NUMBER = re.compile(r"\d{1,5}", re.ASCII)

# A component of systemd.
Part = Literal["boot", "stub"]


def version_text(binary: Content, part: Part) -> str:
    """Return the version (`252.39-1`) of `part` in the EFI binary, empty if there is none."""
    data = read_content(binary.slice(0, min(binary.size, _LIMIT)))
    found = _LOADER_INFO.search(data)
    return found[2].decode("ascii") if found and found[1].decode() == part else ""


def version_number(binary: Content, part: Part) -> int:
    """Return the systemd release (252), 0 if there is none."""
    number = _NUMBER.match(version_text(binary, part))
    return int(number[0]) if number else 0
