"""The error hierarchy, and the exit code of each branch.

    ImagerError            70 unexpected: a bug
      InputError           2  the user's options, profile, list or files
        InvalidProfileError     2  all problems of one profile together
        InvalidExtensionsError  2  all problems of the system extensions together
        InvalidManifestsError   2  all problems of the manifests together
        InvalidConfigError      2  all problems of one machine configuration together
      UnsupportedError     3  understood, but not possible here
      HostError            4  the machine: permissions, space, missing folders
      DependencyError      5  an external tool, registry or mirror failed
      OutputError          6  reading or writing failed half-way

Exit code 1 is a result, not an error: `images cache-diff` returns it if the caches differ, like
diff(1), and `node doctor` if it finds a problem. After a signal the exit code is 128 plus the
signal number. A missing permission always gives 4: such errors are raised `from` the OSError,
and `exit_code_of` checks for it.

Every error has a `message` (what is wrong, and where) and optionally a `hint` (the next action).
A class with a `remedy` is a kind of error: its docstring describes the cause, and its `id`,
derived from the class name, identifies it in `--json`, `imager explain` and the documentation.
Packages define their own kinds in a module `errors`. Ids are stable, because users search for
them.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from typing import ClassVar

_MOST_LISTED = 100
_MISNAMED = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class ImagerError(Exception):
    """Something went wrong that should not be possible: a bug in imager."""

    exit_code: ClassVar[int] = 70  # EX_SOFTWARE of sysexits.h
    id: ClassVar[str] = "internal-error"
    remedy: ClassVar[str] = "Report it with the complete output."

    def __init_subclass__(cls) -> None:
        if "remedy" in vars(cls) and "id" not in vars(cls):
            words = re.findall("[A-Z][a-z]*", cls.__name__.removesuffix("Error"))
            cls.id = "-".join(words).lower()

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        # Whether the printed JSON result already contains the problem.
        self.in_result = False


def is_denied(error: BaseException) -> bool:
    """Return whether `error`, or an exception that caused it, is a missing permission."""
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:  # `raise error from error` creates a cycle
        if isinstance(cause, OSError) and cause.errno in _DENIED:
            return True
        seen.append(cause)
        cause = cause.__cause__
    return False


def exit_code_of(error: ImagerError | OSError) -> int:
    """Return the exit code: 4 for a missing permission on any file, 2 for an invalid path."""
    return kind_of(error).exit_code


def kind_of(error: ImagerError | OSError) -> type[ImagerError]:
    """Return the kind of an error, also of one of the system."""
    if is_denied(error):
        return PermissionDeniedError
    if isinstance(error, OSError):
        return InputError if error.errno in _MISNAMED else OutputError
    return type(error)


def error_json(error: ImagerError | OSError) -> dict[str, str | int]:
    """Return an error as a JSON value."""
    message = error.message if isinstance(error, ImagerError) else str(error)
    return {
        "id": kind_of(error).id,
        "message": message,
        "hint": error.hint if isinstance(error, ImagerError) else "",
        "exitCode": exit_code_of(error),
    }


# A callback for problems: it raises the error, or records it so that the caller can continue.
Fail = Callable[[ImagerError], None]


def stop_at(error: ImagerError) -> None:
    """Raise `error`, so that a build stops at the first problem."""
    raise error


def joined(failures: Sequence[ImagerError], *, what: str) -> ImagerError:
    """Combine `failures`, all of `what` ("images"), into one error; return a single one unchanged.

    Class, hint and cause are those of the first failure.
    """
    first = failures[0]
    if len(failures) == 1:
        return first
    lines = "".join(f"\n  {failure.message}" for failure in failures)
    error = type(first)(f"{len(failures)} {what} failed:{lines}", hint=first.hint)
    error.__cause__ = first.__cause__
    return error


class InputError(ImagerError):
    """An option, a profile, a list or a file is not valid."""

    id = "invalid-input"
    remedy = "Correct what the message names. `imager COMMAND --help` shows a command's options."

    exit_code = 2


class ProblemsError(InputError):
    """An input `what` with one or more problems."""

    def __init__(self, what: str, problems: Sequence[str], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__(f"{what}: {_listed(problems)}", hint=hint)


class InvalidProfileError(ProblemsError):
    """A profile with one or more problems, each `path: what is wrong`."""

    remedy = (
        "Correct the fields that the message names; `imager profile reference` lists all fields."
    )


class InvalidManifestsError(ProblemsError):
    """Kubernetes manifests with one or more problems, each `file: where: what is wrong`."""

    remedy = "Correct the manifests at the files and lines that the message names."


class InvalidExtensionsError(ProblemsError):
    """System extensions with one or more problems, each `extension: field: what is wrong`."""

    remedy = (
        "Take extensions that are made for this Talos version, such as those of "
        "ghcr.io/siderolabs/extensions with the version as tag."
    )


class InvalidConfigError(ProblemsError):
    """A machine configuration with one or more problems, each `file:line: what is wrong`.

    `warnings` are what may be a mistake beside them.
    """

    id = "invalid-machine-config"
    remedy = "Correct the machine configuration at the files and lines that the message names."

    def __init__(
        self, problems: Sequence[str], *, warnings: Sequence[str] = (), hint: str = ""
    ) -> None:
        self.warnings = tuple(warnings)
        super().__init__("machine configuration", problems, hint=hint)


def _listed(problems: Sequence[str]) -> str:
    count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
    lines = "".join(f"\n  {problem}" for problem in problems[:_MOST_LISTED])
    more = len(problems) - _MOST_LISTED
    return f"{count}{lines}" + (f"\n  and {more} more" if more > 0 else "")


class UnsupportedError(ImagerError):
    """The request is valid, but not supported."""

    remedy = "Choose an alternative: the hint names what is supported."

    exit_code = 3


class HostError(ImagerError):
    """The machine lacks something: space, a folder, a permission."""

    id = "host-problem"
    remedy = "Provide what the message names, or use another folder or machine."

    exit_code = 4


class NoSpaceError(HostError):
    """A disk or quota is full, or the output exceeds the largest file size."""

    remedy = (
        "Free space, or write to another folder. --dry-run prints the space needed. Temporary "
        "files are written to $TMPDIR."
    )


class PermissionDeniedError(HostError):
    """The user may not read or write a file, folder or device."""

    remedy = "Check who owns it and its parent folders (ls -ld), or run as another user."


class AlreadyExistsError(InputError):
    """An output would replace a file or folder that must be kept."""

    remedy = "Choose another path, remove what is there, or give --force where the command has it."


class NoRoomError(NoSpaceError):
    """A full disk or quota at a place that a caller adds; see `no_room`."""


def no_room(error: OSError, place: object = "") -> HostError | None:
    """Return the error for a full disk or quota at `place`; None for any other error.

    Without a place, the result is a NoRoomError.
    """
    kind = NoSpaceError if place else NoRoomError
    if error.errno == errno.EFBIG:
        return kind(
            f"the output exceeds the largest file size{f' in {place}' if place else ''}",
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
    """An external program, a registry or a mirror failed."""

    id = "dependency-failed"
    remedy = "Run the command again with -v, which prints all requests, and check what failed."

    exit_code = 5


def missing_library(name: str, package: str) -> DependencyError:
    """Return the error for a library that `name` needs and that is not installed."""
    return DependencyError(
        f"{name} needs the Python package {package}, which is not installed",
        hint=f"pip install {package}",
    )


class MissingProgramError(DependencyError):
    """A program that is needed is not installed, or not in $PATH."""

    remedy = "Install the package that the hint names."


class ProgramFailedError(DependencyError):
    """An external program failed."""

    remedy = "The message has the last lines of its output; run it by hand to see more."


class OutputError(ImagerError):
    """An input could not be read to its end, or an output could not be written."""

    id = "read-or-write-failed"
    remedy = "Check the disk and its file system: the kernel's log (dmesg) often has the reason."

    exit_code = 6
