"""The built-in profiles by name: apart from loading them, which needs heavier libraries."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path


def builtin_folder() -> Traversable:
    """Return the folder of the built-in profiles: in the package, or in a source checkout."""
    packaged = files("imager.profile") / "builtin"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "profiles"


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in profiles, sorted."""
    entries = (entry.name for entry in builtin_folder().iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in entries if name.endswith(".yaml")))
