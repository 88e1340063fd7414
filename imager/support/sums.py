"""The lines of files of checksums that sha256sum(1) writes and checks, with --tag too."""

from __future__ import annotations

import re

# The usual name of such a file
SUMS = "SHA256SUMS"
_PLAIN = re.compile(r"\\?([0-9a-fA-F]{64}) [ *](.+)")
_TAGGED = re.compile(r"SHA256 \((.+)\) = ([0-9a-fA-F]{64})")


def name_and_sum(line: str) -> tuple[str, str] | None:
    """Return the file name and the SHA-256 (hex) of a line; None for another kind of line."""
    if match := _PLAIN.fullmatch(line):
        return match[2], match[1].lower()
    if match := _TAGGED.fullmatch(line):
        return match[1], match[2].lower()
    return None
