"""The layers of imager/: a module imports from those below it alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "imager"

# Lowest first. What shares a line may not import each other; a package's own modules may.
ORDER: tuple[frozenset[str], ...] = (
    frozenset({"__init__", "errors"}),  # layer 0
    frozenset({"units", "repro", "screen", "streams"}),
    frozenset({"meter"}),
    frozenset({"terminal"}),
    frozenset({"reporter"}),
    frozenset({"extents", "tools", "arch", "workers", "yamldocs", "textinput"}),  # layer 1
    frozenset({"filetree", "compression", "workspace"}),
    frozenset({"reading", "tarball"}),
    frozenset({"copier", "checks", "pe"}),
    frozenset({"flusher"}),
    frozenset({"profile", "oci", "media", "signing"}),  # layer 2
    frozenset({"imagecache", "bootassets"}),  # layer 3
    frozenset({"bootloader", "server", "machineconfig"}),  # layer 4
    frozenset({"output", "node"}),  # layer 5
    frozenset({"build"}),  # layer 6
    frozenset({"cli"}),  # layer 7
    frozenset({"__main__"}),
)
LEVEL = {unit: level for level, units in enumerate(ORDER) for unit in units}


def unit_of(path: Path, package: Path) -> str:
    """Return what of the package a file belongs to: a module or a subpackage."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the units of the package that a module's imports name, wherever they stand."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=None) | ast.ImportFrom(level=1 | 2 | 3):
                raise AssertionError("relative imports hide the layer")
            case ast.ImportFrom(module=str(module), names=names):
                modules = [module] if "." in module else [f"{module}.{n.name}" for n in names]
            case _:
                continue
        for module in modules:
            parts = module.split(".")
            if parts[0] == package:
                name = parts[1] if len(parts) > 1 else "__init__"
                yield "__init__" if name.startswith("__version") else name


def upward_imports(package: Path) -> list[str]:
    """Return `file imports unit` for every import that is not from below."""
    found = []
    for path in sorted(package.rglob("*.py")):
        unit = unit_of(path, package)
        for other in imported(ast.parse(path.read_text()), "imager"):
            if other != unit and LEVEL[other] >= LEVEL[unit]:
                found.append(f"{path.relative_to(package)} imports {other}")
    return found


def test_every_module_has_its_layer() -> None:
    units = {unit_of(path, PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert units <= set(LEVEL)


def test_no_import_goes_up() -> None:
    assert upward_imports(PACKAGE) == []


@pytest.mark.parametrize(
    ("place", "line", "found"),
    [
        ("media/gpt.py", "from imager.image.plan import Target", "output"),
        ("extents.py", "import imager.cli.app", "cli"),
        ("units.py", "from imager import build", "build"),
        ("oci/layout.py", "def f():\n    from imager.formats.fat.plan import x", "media"),
        ("errors.py", "from imager.support.units import x", "units"),
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, place: str, line: str, found: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    assert upward_imports(tmp_path) == [f"{place} imports {found}"]


def test_downward_imports_and_those_of_others_pass(tmp_path: Path) -> None:
    (tmp_path / "build.py").write_text("import os\nfrom imager import __version__, units\n")
    assert upward_imports(tmp_path) == []


def test_relative_imports_are_refused(tmp_path: Path) -> None:
    (tmp_path / "build.py").write_text("from . import units\n")
    with pytest.raises(AssertionError, match="relative"):
        upward_imports(tmp_path)
