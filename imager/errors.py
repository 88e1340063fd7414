"""The error tree, and the exit code of each branch.

    ImagerError            1  unknown
      InputError           2  the user's options, profile, list or files
        InvalidProfileError     2  all problems of one profile together
      UnsupportedError     3  understood, but not possible here
      HostError            4  the machine: permissions, space, missing folders
      DependencyError      5  an external tool, registry or mirror failed
      OutputError          6  reading or writing failed half-way
      InstallError         7  reserved for installing to a disk

Exit codes are those of Talos's imager. Every error says what is wrong and where
(`message`) and, when there is one, the next action (`hint`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ImagerError(Exception):
    """Root of the tree: a message for a person, with an optional hint."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(ImagerError):
    """What the user gave is wrong."""

    exit_code = 2


class InvalidProfileError(InputError):
    """A profile with one or more problems, each `path: what is wrong`."""

    def __init__(self, source: str, problems: Sequence[str], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{source}: {count}{lines}", hint=hint)


class UnsupportedError(ImagerError):
    """What the user asked for is understood but cannot be done."""

    exit_code = 3


class HostError(ImagerError):
    """The machine lacks something: space, a folder, a permission."""

    exit_code = 4


class DependencyError(ImagerError):
    """Something we call failed: an external tool, a registry, a mirror."""

    exit_code = 5


class OutputError(ImagerError):
    """Reading an input or writing an output failed half-way."""

    exit_code = 6


class InstallError(ImagerError):
    """Installing to a disk failed."""

    exit_code = 7
