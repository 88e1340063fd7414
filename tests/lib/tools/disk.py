"""The disk space of a test run: enough at the start, and given back as soon as it can be.

pytest removes the `tmp_path` of a test that passed; here go the folders that fixtures of a wider
scope made, when these fixtures end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imager.support.units import GIB, format_size

NEEDED = 4 * GIB


def check_room(free: int | None = None) -> None:
    """Raise pytest.UsageError if the temporary folder has less free space than the tests need."""
    folder = tempfile.gettempdir()
    found = shutil.disk_usage(folder).free if free is None else free
    if found < NEEDED:
        raise pytest.UsageError(
            f"the tests need {format_size(NEEDED)} of free space in {folder}, which has"
            f" {format_size(found)}: free some, or set TMPDIR to a folder on another disk"
        )


class FixtureFolders:
    """Which folders below the base folder were made by which fixture."""

    def __init__(self, base: Callable[[], Path]) -> None:
        self._base = base
        self._made: dict[object, set[Path]] = {}

    @contextmanager
    def made_by(self, fixture: object) -> Iterator[None]:
        """Note what is made meanwhile, except by fixtures within."""
        before = self._folders()
        try:
            yield
        finally:
            claimed = set().union(*self._made.values())
            self._made.setdefault(fixture, set()).update(self._folders() - before - claimed)

    def remove(self, fixture: object) -> None:
        """Remove what the fixture made."""
        for folder in self._made.pop(fixture, ()):
            shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> set[Path]:
        return {path for path in self._base().iterdir() if not path.is_symlink()}
