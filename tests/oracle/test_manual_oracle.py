"""Manual pages: mandoc finds nothing to say against them, and they have what the help has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imager.cli.manual import manual_pages
from tests.lib.tools.cli import tool

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man1")
    for name, text in manual_pages().items():
        (folder / name).write_text(text)
    return folder


def test_the_pages_are_sound(folder: Path) -> None:
    pages = sorted(folder.iterdir())
    assert len(pages) > 30
    assert tool("mandoc", "-Tlint", "-W", "style", *pages) == ""


def test_mandoc_notices_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    damaged = (folder / "imager-iso.1").read_text().replace(".TP", ".PT", 1)
    (tmp_path / "damaged.1").write_text(damaged)
    assert "unknown macro" in tool("mandoc", "-Tlint", tmp_path / "damaged.1", status=None)


def test_a_page_reads_as_the_help(folder: Path) -> None:
    page = folder / "imager-images-cache-create.1"
    text = re.sub(r".\x08", "", tool("mandoc", "-O", "width=100", page))
    assert "imager-images-cache-create - Create an image cache" in text
    assert "--layout [oci|flat]" in text
    assert "imager images default > images.txt" in text
    assert "imager(1), imager-images(1)" in text
    assert "2024-01-01" in text


def test_the_first_page_has_what_holds_for_all(folder: Path) -> None:
    text = re.sub(r".\x08", "", tool("mandoc", folder / "imager.1"))
    for heading in ("EXIT STATUS", "ENVIRONMENT", "FILES", "FIRST STEPS"):
        assert f"\n{heading}\n" in text
    assert "imager-node-doctor(1)" in text
