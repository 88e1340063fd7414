"""The error tree, and the exit code of each branch.

    ImagerError            70 unexpected: a bug
      InputError           2  the user's options, profile, list or files
        InvalidProfileError     2  all problems of one profile together
        InvalidManifestsError   2  all problems of the manifests together
        InvalidConfigError      2  all problems of one machine configuration together
      UnsupportedError     3  understood, but not possible here
      HostError            4  the machine: permissions, space, missing folders
      DependencyError      5  an external tool, registry or mirror failed
      OutputError          6  reading or writing failed half-way

1 is no error but an answer: `images cache-diff` gives it for caches that differ, as diff(1) does,
and `node doctor` when it finds something. A signal ends with 128 and its number. A missing
permission gives 4 whatever it is missing for: such errors are raised `from` the OSError, and
`exit_code_of` looks at that.

Every error says what is wrong and where (`message`) and, when there is one, the next action
(`hint`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import ClassVar

_MOST_LISTED = 100
_MISNAMED = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class ImagerError(Exception):
    """Root of the tree: a message for a person, with an optional hint."""

    exit_code: ClassVar[int] = 70  # EX_SOFTWARE of sysexits.h

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def is_denied(error: BaseException) -> bool:
    """Whether a missing permission is `error` itself, or what it was raised from."""
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:  # `raise error from error` makes a ring
        if isinstance(cause, OSError) and cause.errno in _DENIED:
            return True
        seen.append(cause)
        cause = cause.__cause__
    return False


def exit_code_of(error: ImagerError | OSError) -> int:
    """Return the exit code: permissions are the machine's, whatever file they are missing for.

    A path that cannot be one is the user's.
    """
    if is_denied(error):
        return HostError.exit_code
    if isinstance(error, OSError) and error.errno in _MISNAMED:
        return InputError.exit_code
    return OutputError.exit_code if isinstance(error, OSError) else error.exit_code


# What is told of a problem: it raises, or keeps it and returns, and what is wrong is left out.
Fail = Callable[[ImagerError], None]


def stop_at(error: ImagerError) -> None:
    """Raise `error`: a build stops at the first problem."""
    raise error


def joined(failures: Sequence[ImagerError], *, what: str) -> ImagerError:
    """Return one error for all of `failures`, which are of `what` ("images"): itself if single.

    Class, hint and cause are those of the first.
    """
    first = failures[0]
    if len(failures) == 1:
        return first
    lines = "".join(f"\n  {failure.message}" for failure in failures)
    error = type(first)(f"{len(failures)} {what} failed:{lines}", hint=first.hint)
    error.__cause__ = first.__cause__
    return error


class InputError(ImagerError):
    """What the user gave is wrong."""

    exit_code = 2


class InvalidProfileError(InputError):
    """A profile with one or more problems, each `path: what is wrong`."""

    def __init__(self, source: str, problems: Sequence[str], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__(f"{source}: {_listed(problems)}", hint=hint)


class InvalidManifestsError(InputError):
    """Kubernetes manifests with one or more problems, each `file: where: what is wrong`."""

    def __init__(self, problems: Sequence[str], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__(f"manifests: {_listed(problems)}", hint=hint)


class InvalidConfigError(InputError):
    """A machine configuration with one or more problems, each `file:line: what is wrong`.

    `warnings` are what may be a mistake beside them.
    """

    def __init__(
        self, problems: Sequence[str], *, warnings: Sequence[str] = (), hint: str = ""
    ) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__(f"machine configuration: {_listed(problems)}", hint=hint)


def _listed(problems: Sequence[str]) -> str:
    count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
    lines = "".join(f"\n  {problem}" for problem in problems[:_MOST_LISTED])
    more = len(problems) - _MOST_LISTED
    return f"{count}{lines}" + (f"\n  and {more} more" if more > 0 else "")


class UnsupportedError(ImagerError):
    """What the user asked for is understood but cannot be done."""

    exit_code = 3


class HostError(ImagerError):
    """The machine lacks something: space, a folder, a permission."""

    exit_code = 4


class NoRoomError(HostError):
    """There was no room to write: who knows the place adds it, see `no_room`."""


def no_room(error: OSError, place: object = "") -> HostError | None:
    """Return what it means that nothing more can be written at `place`; None for other errors.

    Without a place it is a NoRoomError.
    """
    kind = HostError if place else NoRoomError
    if error.errno == errno.EFBIG:
        return kind(
            f"the output is larger than a file can be {f'in {place}' if place else 'there'}",
            hint="choose another file system, or a smaller size",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" to {place}" if place else ""
        quota = ": the disk quota is used up" if error.errno == errno.EDQUOT else ""
        return kind(
            f"no space left while writing{where}{quota}",
            hint="free space there, or write to another folder",
        )
    return None


class DependencyError(ImagerError):
    """Something we call failed: an external tool, a registry, a mirror."""

    exit_code = 5


class OutputError(ImagerError):
    """Reading an input or writing an output failed half-way."""

    exit_code = 6
