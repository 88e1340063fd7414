"""The site of a fault test, and its registry."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.registries.programmable import Registry, running_programmable
from tests.lib.registries.sample import fill
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


@pytest.fixture
def server() -> Iterator[Registry]:
    """A registry with the image team/app:v1."""
    with running_programmable() as running:
        yield fill(running)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which nothing else is."""
    made = tmp_path / "folder"
    made.mkdir()
    return made
