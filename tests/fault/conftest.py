"""The site of a fault test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.tools.cli import synthetic_assets
from tests.lib.tools.fault_site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        synthetic_assets(folder / "assets")
        (folder / "out").mkdir()
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        yield Site(folder)
