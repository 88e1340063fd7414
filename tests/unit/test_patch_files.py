"""Patch files beside the commands that write them: other things at their place are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imager.registry.patchfiles import require_same, write_patch
from imager.support.errors import InputError


def test_a_patch_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "patch.yaml"
    for _ in range(2):
        require_same(path, "machine: {}\n")
        write_patch(path, "machine: {}\n")
    assert path.read_text() == "machine: {}\n"


@pytest.mark.parametrize("kind", ["file", "longer", "folder", "pipe", "dangling link", "endless"])
def test_something_else_is_kept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "patch.yaml"
    match kind:
        case "file":
            path.write_text("machine: []\n")
        case "longer":
            path.write_text("machine: {}\n# mine\n")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "dangling link":
            path.symlink_to(tmp_path / "nothing")
        case _:
            path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="exists already"):
        require_same(path, "machine: {}\n")
