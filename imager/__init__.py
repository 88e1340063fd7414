"""imager: boot assets for Talos Linux that carry their own container images.

`__init__.pyi` lists the public API, which docs/api.md describes. A name is imported when it is
first used, so that the command line starts fast.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a name of the public API."""
    from importlib import import_module

    module = _modules().get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    """Return the names of the public API and of this module."""
    return sorted({*globals(), *_modules()})


def _modules() -> dict[str, str]:
    """Return the module of each name of the public API."""
    import ast
    from pathlib import Path

    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}
