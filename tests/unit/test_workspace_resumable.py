"""A folder that a later run goes on with: its own, and nobody else's."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from imager.support.atomic import atomic_folder
from imager.support.errors import HostError
from imager.support.partials import Resume, keyed_partial
from tests.lib.tools.support import names_in


def fail(target: Path, *, key: str = "key", keep: bool = True, name: str = "file") -> None:
    """Begin a folder with one file, and fail."""
    with (
        pytest.raises(ValueError, match="no"),
        atomic_folder(target, resume=Resume(key, lambda _folder, _error: keep)) as folder,
    ):
        (folder / name).write_bytes(b"come")
        raise ValueError("no")


def seen(target: Path, *, key: str = "key") -> list[str]:
    """Finish the folder; return what was in it at the start."""
    with atomic_folder(target, resume=Resume(key, lambda _folder, _error: True)) as folder:
        return sorted(path.name for path in folder.iterdir())


def test_what_is_kept_is_gone_on_with(tmp_path: Path) -> None:
    target = tmp_path / "cache"
    fail(target)
    assert names_in(tmp_path) == [keyed_partial(target, "key").name]
    fail(target, name="second")
    assert seen(target) == ["file", "second"]
    assert names_in(tmp_path) == ["cache"]
    assert names_in(target) == ["file", "second"]


def test_what_is_not_kept_goes(tmp_path: Path) -> None:
    fail(tmp_path / "cache", keep=False)
    assert names_in(tmp_path) == []


def test_another_plan_begins_anew(tmp_path: Path) -> None:
    fail(tmp_path / "cache")
    assert seen(tmp_path / "cache", key="other") == []
    assert names_in(tmp_path) == ["cache"]


def test_the_folder_of_a_run_that_runs_is_left_to_it(tmp_path: Path) -> None:
    target = tmp_path / "cache"
    fail(target)
    held = os.open(keyed_partial(target, "key"), os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert seen(target) == []
        assert names_in(keyed_partial(target, "key")) == ["file"]
    finally:
        os.close(held)
    assert seen(target) == ["file"]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/letter").write_text("keep me")
    target = tmp_path / "out"
    keyed_partial(target, "key").symlink_to(tmp_path / "precious")
    with pytest.raises(HostError, match="cannot create"):
        seen(target)
    assert names_in(tmp_path / "precious") == ["letter"]
