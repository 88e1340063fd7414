"""The kinds of errors of the packages that boot assets are built from."""

from __future__ import annotations

from imager.support.errors import DependencyError


class UnusablePackageError(DependencyError):
    """A package of Debian or PyPI cannot be fetched, or does not contain what is needed of it."""

    remedy = (
        "Look at the mirror that the message names, or give another one with --mirror. With "
        "--locked the packages must be those of the lock."
    )
