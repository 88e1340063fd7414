"""The rooms of imager/: each imports from those below it alone, and they are few."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.tools.sizes import functions

PACKAGE = Path(__file__).parents[2] / "imager"

# Lowest first. Rooms on one floor do not import each other.
FLOORS = (
    "__init__",
    "support",
    "content",
    "efi formats oci",
    "talos",
    "cache",
    "discover profile registry",
    "bootassets node",
    "distro image",
    "app",
    "cli",
    "__main__",
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
MOST_ROOMS = 18
MOST_PAIRS = 80
LONGEST_MODULE = 300
LONGEST_FUNCTION = 60


def room_of(path: Path, package: Path) -> str:
    """Return the room that a file is in: a folder of the package, or a file beside them."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the rooms that a module's imports name, wherever in it they stand."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=None) | ast.ImportFrom(level=1 | 2 | 3):
                raise AssertionError("relative imports hide the room")
            case ast.ImportFrom(module=str(module), names=names):
                modules = [module] if "." in module else [f"{module}.{n.name}" for n in names]
            case _:
                continue
        for name, *parts in (module.split(".") for module in modules):
            if name == "imager":
                room = parts[0] if parts else "__init__"
                yield "__init__" if room.startswith("__version") else room


def pairs_of(package: Path) -> list[tuple[str, str, Path]]:
    """Return each two rooms with an import between them, with a file in which it stands."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(package.rglob("*.py")):
        room = room_of(path, package)
        for other in imported(ast.parse(path.read_text())):
            if other != room:
                found.setdefault((room, other), path)
    return [(room, other, path.relative_to(package)) for (room, other), path in found.items()]


def upward(package: Path) -> list[str]:
    """Return `file imports room` where a room imports one that is not below it."""
    return [
        f"{path} imports {other}"
        for room, other, path in pairs_of(package)
        if FLOOR[other] >= FLOOR[room]
    ]


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(path, PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert rooms == set(FLOOR)


def test_no_import_goes_up() -> None:
    assert upward(PACKAGE) == []


def test_the_rooms_and_what_ties_them_are_few() -> None:
    folders = [path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]
    pairs = [pair for pair in pairs_of(PACKAGE) if "__init__" not in pair]
    assert len(folders) <= MOST_ROOMS
    assert len(pairs) <= MOST_PAIRS


def test_no_two_modules_of_a_room_import_each_other() -> None:
    """Whatever the room: a circle of modules cannot be read top down."""
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
    }
    needs = {name: set(modules_in(path, modules)) - {name} for name, path in modules.items()}
    while free := {name for name, others in needs.items() if not others}:
        needs = {name: others - free for name, others in needs.items() if name not in free}
    assert sorted(needs) == []


def modules_in(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of the package that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield from (each for each in (whole, node.module) if each in modules)


@pytest.mark.parametrize(
    ("place", "line", "found"),
    [
        ("formats/gpt/plan.py", "from imager.image.plan import Target", "image"),
        ("support/units.py", "import imager.cli.app", "cli"),
        ("content/extents.py", "from imager import app", "app"),
        ("oci/layout.py", "def f():\n    from imager.formats.fat.plan import x", "formats"),
    ],
)
def test_an_upward_import_is_found(tmp_path: Path, place: str, line: str, found: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert upward(tmp_path) == [f"{place} imports {found}"]


def test_downward_imports_and_those_of_others_pass(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/build.py").write_text("import os\nfrom imager import __version__, support\n")
    assert upward(tmp_path) == []


def test_relative_imports_are_refused(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from . import units\n")
    with pytest.raises(AssertionError, match="relative"):
        upward(tmp_path)


def test_modules_and_functions_are_short() -> None:
    paths = sorted(PACKAGE.rglob("*.py"))
    modules = [(len(path.read_text().splitlines()), str(path)) for path in paths]
    assert [each for each in modules if each[0] > LONGEST_MODULE] == []
    found = [each for path in paths for each in functions(path)]
    assert [each for each in found if each[0] > LONGEST_FUNCTION] == []
