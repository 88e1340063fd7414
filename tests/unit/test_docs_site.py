"""The documentation site: its generated pages, and that readers fetch nothing from other hosts."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imager.cli import markdown
from imager.cli.reference import ENVIRONMENT, EXIT_CODES, FILES
from imager.profile.reference import reference
from tests.lib.tools.cli import REPOSITORY

# Elements that a browser loads by itself, unlike the links that a reader follows.
LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")
IN_STYLE = re.compile(r"(?:@import|url\()\s*[\"']?([^\"')]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(
        REPOSITORY / "docs", folder / "docs", ignore=shutil.ignore_patterns("generated")
    )
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(REPOSITORY / name, folder)
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "docs", "html"]
    subprocess.run(command, check=True, cwd=folder, timeout=300)
    return folder / "html"


def words(page: Path) -> str:
    """Return the text of a page of HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page.read_text())).split())


def elsewhere(address: str) -> bool:
    return "//" in address.partition("?")[0] and not address.startswith("data:")


def test_what_is_loaded_from_elsewhere_is_seen() -> None:
    page = '<link rel="x" href="https://a.example/b"/><script src="_static/c.js"></script>'
    assert [elsewhere(each) for each in LOADED.findall(page)] == [True, False]
    assert IN_STYLE.findall("@import url(//a/b); x{y: url('data:z')}")


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert len(pages) > 20
    assert styles
    loaded = {each for page in pages for each in LOADED.findall(page.read_text())}
    loaded |= {each for style in styles for each in IN_STYLE.findall(style.read_text())}
    assert any(each.startswith("_static/") for each in loaded)
    assert [each for each in loaded if elsewhere(each)] == []


def test_every_option_and_exit_code_has_a_row(site: Path) -> None:
    command = words(site / "reference/generated/imager-images-cache-create.html")
    assert "--image-cache-path FOLDER|FILE.TAR Folder to create, or a tar of it" in command
    general = words(site / "reference/generated/general.html")
    for section in (EXIT_CODES, ENVIRONMENT, FILES):
        for name, text in section.items.items():
            assert f"{name} {text.partition('`')[0]}" in general, name


def test_every_field_of_a_profile_has_a_row(site: Path) -> None:
    page = words(site / "reference/generated/profile-fields.html")
    for field in reference():
        if field.example or field.ignored:
            assert re.search(rf"(?<![\w.]){re.escape(field.name)}(?![\w.]*\w)", page), field.name


def test_the_commands_are_all_on_one_page() -> None:
    pages = markdown.reference_pages()
    listed = set(re.findall(r"\(([a-z0-9-]+\.md)\)", pages["commands.md"]))
    assert listed == {name for name in pages if name.startswith("imager")}


def test_text_keeps_its_characters() -> None:
    escaped = markdown.reference_pages()["imager-images-cache-create.md"]
    assert r"\[NAME=\]oci:FOLDER\[:TAG\]" in escaped
    assert r"`--platform OS/ARCH`" in escaped
    assert r"`--layout [oci\|flat]`" in escaped


def test_pages_of_commands_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "imager-gone.md").write_text("x")
    markdown.write_pages(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(markdown.reference_pages())
