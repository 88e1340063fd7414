"""Copies of the tree, and how one is broken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import cache_from_source
from pathlib import Path

from tests.mutants.mutant import Mutant

REPOSITORY = Path(__file__).resolve().parents[2]
_COPIED = ("imager", "tests", "profiles", "pyproject.toml")


def copy_tree(target: Path) -> Path:
    """Copy what tests need, without what was compiled."""
    target.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in _COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        else:
            shutil.copy2(source, target / name)
    return target


@contextmanager
def broken(tree: Path, mutant: Mutant) -> Iterator[None]:
    """Break `tree`; neither the broken code nor what is compiled of it stays."""
    path = tree / mutant.file
    text = path.read_text("utf-8")
    # A change of the same size in the same second would not be compiled anew.
    compiled = Path(cache_from_source(str(path)))
    try:
        path.write_text(text.replace(mutant.old, mutant.new), "utf-8")
        compiled.unlink(missing_ok=True)
        yield
    finally:
        path.write_text(text, "utf-8")
        compiled.unlink(missing_ok=True)
