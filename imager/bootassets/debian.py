"""Debian packages by exact version and hash, and their release."""

from __future__ import annotations

import re
from dataclasses import dataclass

SUITE = "bookworm"
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.ASCII)
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~:-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """An exact binary package; `size` (bytes) and `sha256` (hexadecimal) are those of its .deb."""

    name: str
    version: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not _VERSION.fullmatch(self.version):
            raise ValueError(f"{self.name!r} {self.version!r} is not a Debian package and version")
        if self.size <= 0 or not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.name}: no size and SHA-256")
