"""Output folders on file systems that the kernel mounts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imager.support.errors import HostError
from imager.support.folders import check_output_folder

pytestmark = [pytest.mark.oracle, pytest.mark.root]


def test_a_read_only_file_system(tmp_path: Path) -> None:
    """Root may write everywhere else, so permissions are not what to look at."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", tmp_path], check=True)
    try:
        with pytest.raises(HostError, match="is on a read-only file system") as caught:
            check_output_folder(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert "mount" in caught.value.hint
