"""The public API: what `from imager import ...` gives, and what docs/api.md says of it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import imager
from imager import NewCache
from imager.app.create_cache import NewCache as Defined
from tests.lib.tools.cli import UNMEASURED, environment

PAGE = Path(__file__).parents[2] / "docs/api.md"
STUB = Path(imager.__file__).with_suffix(".pyi").read_text("utf-8")
NAMES = re.findall(r"(?m)^from [\w.]+ import (\w+) as \1$", STUB)


def test_every_name_can_be_imported() -> None:
    assert len(NAMES) > 50
    assert [name for name in NAMES if not hasattr(imager, name)] == []
    assert set(NAMES) <= set(dir(imager))
    assert NewCache is Defined


def test_values_are_frozen() -> None:
    classes = [found for name in NAMES if is_dataclass(found := getattr(imager, name))]
    assert len(classes) > 20
    assert [each for each in classes if not vars(each)["__dataclass_params__"].frozen] == []


def test_other_names_are_missing() -> None:
    with pytest.raises(AttributeError, match="'imager' has no attribute 'frobnicate'"):
        imager.frobnicate  # type: ignore[attr-defined]  # noqa: B018


def test_the_page_names_all_and_nothing_else() -> None:
    page = PAGE.read_text("utf-8")
    named = {each for text in re.findall(r"`([^`\n]+)`", page) for each in re.findall(r"\w+", text)}
    imported = set(re.findall(r"\w+", " ".join(re.findall(r"(?m)^from imager import (.*)", page))))
    assert [name for name in NAMES if name not in named] == []
    assert imported
    assert imported <= set(NAMES)


def printed(code: str) -> list[str]:
    """Return the words that Python prints when it runs `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(UNMEASURED),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_the_package_alone_loads_nothing() -> None:
    code = "import imager, sys; print(*(name for name in sys.modules if 'imager' in name))"
    assert printed(code) == ["imager"]


def test_no_use_case_needs_typer() -> None:
    """All of it loads without the command line; also what a caller gets from the API."""
    code = (
        "import imager, sys\n"
        f"for name in {NAMES!r}: getattr(imager, name)\n"
        "print(*(name for name in sys.modules if name == 'typer' or 'imager.cli' in name))"
    )
    assert printed(code) == []
