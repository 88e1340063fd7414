"""Names of profiles, without importing the libraries that load them."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def builtin_folder() -> Path:
    """Return the folder of the built-in profiles, in the package or in a source checkout."""
    packaged = _HERE / "builtin"
    return packaged if packaged.is_dir() else _HERE.parents[1] / "profiles"


def is_profile_file(source: str) -> bool:
    """Return whether `source` is the path of a profile; else it is the name of one."""
    return "/" in source or source.endswith((".yaml", ".yml"))


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in profiles, sorted."""
    return tuple(sorted(path.stem for path in builtin_folder().glob("*.yaml")))
