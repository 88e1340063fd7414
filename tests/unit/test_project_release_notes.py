"""Release notes are one section of the change log."""

from __future__ import annotations

import pytest

from imager import __version__
from tests.lib.tools.cli import REPOSITORY
from tests.release.notes import release_notes

CHANGES = """\
# Changes

## Unreleased

### Added

- `new`: it is
  new.

## [1.1.0] - 2026-11-01

### Fixed

- It works.

## 1.0.0

Nothing is said.
"""


@pytest.mark.parametrize(
    ("version", "notes"),
    [
        ("1.1.0", "# imager 1.1.0\n\n### Fixed\n\n- It works.\n"),
        ("2.0.0", "# imager 2.0.0\n\n### Added\n\n- `new`: it is\n  new.\n"),
    ],
)
def test_a_section_becomes_the_notes(version: str, notes: str) -> None:
    assert release_notes(CHANGES, version) == notes


@pytest.mark.parametrize(
    ("changes", "message"),
    [(CHANGES, "lists no change for 1.0.0"), ("# Changes\n", "has no section for 1.0.0")],
)
def test_a_release_without_changes_is_refused(changes: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        release_notes(changes, "1.0.0")


def test_the_change_log_has_notes_for_this_version() -> None:
    assert release_notes((REPOSITORY / "CHANGELOG.md").read_text(), __version__)
