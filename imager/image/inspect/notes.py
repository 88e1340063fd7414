"""Collect what is damaged and what is unknown, so that an inspection goes on after either."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zstandard

from imager.image.inspect.model import Finding, Unknown
from imager.support.errors import InputError, MissingProgramError, UnsupportedError

_ERRORS = (struct.error, ValueError, lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError)
_MOST = 200


@dataclass(frozen=True, slots=True)
class Depth:
    """How much of an image may be read: of a remote one only small parts.

    `scratch` is a folder for temporary files.
    """

    scratch: Path
    is_remote: bool = False


class Notes:
    """The findings and unknowns of one inspection."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.unknown: list[Unknown] = []

    def damaged(self, place: str, problem: str) -> None:
        """Add a finding, once; a hostile image cannot cause more than some hundred."""
        finding = Finding(place, problem)
        if finding not in self.findings and len(self.findings) < _MOST:
            self.findings.append(finding)

    def unread(self, place: str, reason: str) -> None:
        """Add something unknown, once."""
        unknown = Unknown(place, reason)
        if unknown not in self.unknown and len(self.unknown) < _MOST:
            self.unknown.append(unknown)

    @contextmanager
    def reading(self, place: str) -> Iterator[None]:
        """Turn errors of the block into notes about `place`: unsupported is unknown, not damaged.

        Errors of this machine and of a server propagate: they say nothing about the image.
        """
        try:
            yield
        except (UnsupportedError, MissingProgramError) as error:
            self.unread(place, _without(place, error.message))
        except InputError as error:
            self.damaged(place, _without(place, error.message))
        except _ERRORS as error:
            self.damaged(place, f"cannot be parsed: {error}")


def _without(place: str, message: str) -> str:
    return message.removeprefix(f"{place}: ")
