"""Content digests: OCI image specification, descriptor.md, section Digests.

https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imager.content.extents import Content
from imager.content.reading import hash_content
from imager.oci.errors import InvalidReferenceError
from imager.support.errors import UnsupportedError

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DIGEST = re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest; `hex` is its 64 lower-case hexadecimal digits."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise InvalidReferenceError(
                f"{self.hex[:80]!r} is not a SHA-256 digest of 64 hexadecimal digits"
            )

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse a digest written as `sha256:<hex>`.

        Raises InputError when it does not parse, UnsupportedError for another algorithm.
        """
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise InvalidReferenceError(
                f"{text[:80]!r} is not a digest", hint="write it as sha256:<64 hex digits>"
            )
        if match[1] != "sha256":
            raise UnsupportedError(
                f"digest algorithm {match[1]!r} is not supported",
                hint="use sha256, as registries and Talos do",
            )
        # A blob's digest occurs in its path and in every manifest that names it: share one string.
        return cls(sys.intern(match[2]))

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Compute the digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> Digest:
        """Compute the digest of a file; raises OSError, or OutputError if it shrinks."""
        return cls(hash_content(Content.of_file(path)).hex())

    @property
    def file_name(self) -> str:
        """The digest as a file name, `sha256-<hex>`, as vfat does not allow colons."""
        return f"sha256-{self.hex}"

    def contradicts(self, stated: str) -> bool:
        """Return whether `stated` is another SHA-256 digest; other algorithms are not compared."""
        return stated.startswith("sha256:") and stated != str(self)

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


def hashed(pieces: Iterable[bytes]) -> Digest:
    """Compute the digest of data in pieces."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return Digest(found.hexdigest())
