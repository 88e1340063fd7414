"""The kinds of errors of locks."""

from __future__ import annotations

from collections.abc import Sequence

from imager.support.errors import InputError


class InvalidLockError(InputError):
    """A lock file is damaged, or was written by hand or by a newer imager."""

    remedy = "Make it again: `imager lock PROFILE`, or `imager images lock` for a list of images."


class ChangedSinceLockError(InputError):
    """What a build would use is not what its lock pins; the message lists all differences."""

    id = "changed-since-lock"
    remedy = (
        "Restore what changed, or pin what is there now: `imager lock PROFILE --update` prints "
        "what moves."
    )

    def __init__(self, source: str, differences: Sequence[str], *, hint: str = "") -> None:
        number = f"{len(differences)} difference" + ("s" if len(differences) != 1 else "")
        lines = "".join(f"\n  {each}" for each in differences)
        super().__init__(f"{source}: {number}{lines}", hint=hint)
