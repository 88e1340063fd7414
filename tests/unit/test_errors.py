"""Exit codes: a missing permission is the machine's, whatever it is missing for."""

from __future__ import annotations

import errno
import os

import pytest

from imager.support.errors import (
    DependencyError,
    HostError,
    ImagerError,
    InputError,
    OutputError,
    UnsupportedError,
    exit_code_of,
    is_denied,
    joined,
)

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def from_os(kind: type[ImagerError], number: int) -> ImagerError:
    error = kind("cannot read it")
    error.__cause__ = OSError(number, os.strerror(number))
    return error


@pytest.mark.parametrize("number", DENIED)
@pytest.mark.parametrize("kind", [InputError, OutputError, DependencyError, UnsupportedError])
def test_permissions_are_the_machines(kind: type[ImagerError], number: int) -> None:
    error = from_os(kind, number)
    assert is_denied(error)
    assert exit_code_of(error) == HostError.exit_code == 4
    outer = InputError("outer")
    outer.__cause__ = error
    assert exit_code_of(outer) == 4
    assert exit_code_of(joined([error, InputError("another")], what="files")) == 4
    assert exit_code_of(OSError(number, "")) == 4


@pytest.mark.parametrize(
    ("kind", "code"),
    [(InputError, 2), (UnsupportedError, 3), (DependencyError, 5), (OutputError, 6)],
)
def test_other_causes_change_nothing(kind: type[ImagerError], code: int) -> None:
    assert exit_code_of(from_os(kind, errno.EIO)) == code
    assert exit_code_of(kind("plain")) == code
    assert exit_code_of(OSError(errno.EIO, "")) == 6


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ELOOP])
def test_a_path_that_cannot_be_one_is_the_users(number: int) -> None:
    assert exit_code_of(OSError(number, "")) == 2


def test_an_error_raised_from_itself() -> None:
    error = InputError("round")
    error.__cause__ = InputError("and")
    error.__cause__.__cause__ = error
    assert exit_code_of(error) == 2


def test_one_is_no_error() -> None:
    """1 is what `cache-diff` and `node doctor` answer with."""
    kinds = [ImagerError]
    for kind in kinds:
        assert kind.exit_code not in (0, 1)
        kinds += kind.__subclasses__()
    assert len(kinds) > 6
