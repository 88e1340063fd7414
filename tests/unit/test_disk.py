"""The disk space of a test run: checked at the start, given back at the end of fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.tools.disk import NEEDED, FixtureFolders, check_room


def test_a_run_does_not_start_without_room() -> None:
    check_room(NEEDED)
    with pytest.raises(pytest.UsageError, match=r"need 4 GiB of free .* set TMPDIR"):
        check_room(NEEDED - 1)


def test_folders_go_with_the_fixture_that_made_them(tmp_path: Path) -> None:
    folders = FixtureFolders(lambda: tmp_path)
    (tmp_path / "before").mkdir()
    with folders.made_by("outer"):
        (tmp_path / "outer0").mkdir()
        with folders.made_by("inner"):
            (tmp_path / "inner0").mkdir()
            (tmp_path / "inner0" / "file").write_bytes(b"x")
        (tmp_path / "outer1").mkdir()
    (tmp_path / "after").mkdir()
    folders.remove("inner")
    assert {path.name for path in tmp_path.iterdir()} == {"before", "outer0", "outer1", "after"}
    folders.remove("outer")
    folders.remove("outer")
    assert {path.name for path in tmp_path.iterdir()} == {"before", "after"}
