"""The versions that systemd's EFI binaries have in their LoaderInfo text."""

from __future__ import annotations

import enum
import re
from pathlib import Path

from imager.content.extents import Content
from imager.content.reading import read_content, read_start

_LIMIT = 16 << 20
_LOADER_INFO = re.compile(rb"#### LoaderInfo: systemd-(boot|stub) ([ -~]{1,60}) ####")
_NUMBER = re.compile(r"\d{1,5}", re.ASCII)


class Part(enum.Enum):
    """A part of systemd; the value is its name."""

    BOOT = "boot"
    STUB = "stub"


def version_text(binary: Path | Content, part: Part) -> str:
    """Return the version (`252.39-1`) of `part` that the EFI binary has, empty if it has none.

    Raises InputError when a file cannot be read.
    """
    if isinstance(binary, Path):
        data = read_start(binary, _LIMIT)
    else:
        data = read_content(binary.slice(0, min(binary.size, _LIMIT)))
    found = _LOADER_INFO.search(data)
    return found[2].decode("ascii") if found and found[1].decode() == part.value else ""


def version_number(binary: Path | Content, part: Part) -> int:
    """Return the release of systemd (252), 0 if the binary has none; raises as `version_text`."""
    number = _NUMBER.match(version_text(binary, part))
    return int(number[0]) if number else 0
