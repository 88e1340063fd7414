"""The documentation: its links lead somewhere, and the commands that it shows exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile

import pytest
import typer

from imager.cli.app import app
from imager.cli.help import HelpPage, help_pages
from tests.lib.tools.cli import REPOSITORY
from tests.unit.test_layers import FLOOR

PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"))
    if "generated" not in path.parts
)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"(?:^    .*\n)+|^```\w*\n(?:.*\n)*?```$", re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
OPTION = re.compile(r"(?<![\w-])(--?[a-z][a-z0-9-]*)")
LONG = re.compile(r"(?<!\S)(--[a-z][a-z0-9-]*)")
# Pages that sphinx makes from code.
GENERATED = "generated/"
# Options of other programs that the pages show.
FOREIGN = frozenset({"--changed", "--index", "--privileged", "--user"})

PACKAGE = REPOSITORY / "imager"
ARCHITECTURE = REPOSITORY / "docs/architecture.md"
# Files of the projects that the architecture is compared with.
OTHERS_CODE = frozenset(
    {"__init__.py", "bootloader.py", "config.py", "partition.py", "qemu.py", "vmspawn.py"}
    | {"distribution/__init__.py", "cmd/crane/cmd/", "pkg/registry/"}
)

# Folders of an image cache.
CACHE_FOLDERS = frozenset({"blob/", "digest/", "imagecache/", "manifests/", "reference/"})

COMMANDS: dict[str, HelpPage] = {
    page.path: page for page in help_pages(typer.main.get_command(app), "imager")
}


def options_of(page: HelpPage) -> set[str]:
    """Return the spellings of a command's options."""
    names = [name for section in page.sections for name in section.items]
    return {word for name in names for word in OPTION.findall(name)}


# A file in the place of a command is a profile, which takes the options of every profile.
OPTIONS = {path: options_of(page) for path, page in COMMANDS.items()}
ALL_OPTIONS = frozenset().union(*OPTIONS.values())


def commands_in(text: str) -> Iterator[str]:
    """Yield the lines that call `imager`, those that are continued joined."""
    for block in BLOCK.findall(text):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if call := re.match(r"\s*(?:[$#] |\(|\.venv/bin/)?(imager .*)", line):
                yield call.group(1)
            yield from re.findall(r"[|;] (imager [^|)]*)", line)
    for span in SPAN.findall(BLOCK.sub("", text)):
        if span.startswith("imager "):
            yield span.replace("\\|", "|")


def problem(call: str) -> str | None:
    """Return what is wrong with a call of `imager`; None if its command and options exist."""
    lexer = shlex.shlex(call, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(takewhile(lambda word: not set(word) <= set("();<>|&"), lexer))
    path = "imager"
    while len(words) > 1 and f"{path} {words[1]}" in COMMANDS:
        path = f"{path} {words.pop(1)}"
    plain = words[1] if len(words) > 1 else ""
    in_overlay = "--overlay-image" in words and not plain.startswith("-")
    if path == "imager" and (in_overlay or re.search(r"\.yaml$|^-$|^[A-Z.]+$", plain)):
        path = "imager iso"
    elif plain and any(page.startswith(f"{path} ") for page in COMMANDS) and plain[0] != "-":
        return f"no such command: {path} {plain}"
    used = {word.partition("=")[0] for word in words[1:] if OPTION.match(word)}
    unknown = used - OPTIONS[path]
    return f"{path} has no {', '.join(sorted(unknown))}" if unknown else None


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    links = [link for link in LINK.findall(path.read_text()) if ":" not in link]
    assert [
        link for link in links if GENERATED not in link and not (path.parent / link).exists()
    ] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    assert [found for call in commands_in(text) if (found := problem(call))] == []
    spans = [span for span in SPAN.findall(BLOCK.sub("", text)) if span.startswith("--")]
    named = {option for span in spans for option in LONG.findall(span)}
    assert named - ALL_OPTIONS - FOREIGN == set()


def test_the_pages_show_many_commands() -> None:
    calls = [call for page in PAGES for call in commands_in((REPOSITORY / page).read_text())]
    assert len(calls) > 100
    assert "imager images list --from site/" in calls
    assert any(call.startswith("imager iso --assets ./assets/node") for call in calls)


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("imager iso --image-cache a.oci -o b", None),
        ("imager ./edge.yaml --arch arm64", None),
        ("imager - < edge.yaml", None),
        ("imager images list --from - > list.txt", None),
        ("imager iso --imagecache a.oci", "imager iso has no --imagecache"),
        ("imager images cache-make x", "no such command: imager images cache-make"),
        ("imager image list", "no such command: imager image"),
    ],
)
def test_what_does_not_exist_is_seen(call: str, found: str | None) -> None:
    assert problem(call) == found


def paths_in(text: str) -> set[str]:
    """Return the modules and folders that a page names as code."""
    return {
        span for span in SPAN.findall(text) if re.fullmatch(r"[\w./]+\.py|[a-z0-9_]+/[\w/]*", span)
    }


@pytest.mark.parametrize(
    "page", [each for each in PAGES if re.search("architecture|decisions|CONTRIB|testing", each)]
)
def test_modules_and_folders_exist(page: str) -> None:
    names = {path.name for path in PACKAGE.rglob("*.py")}
    assert {
        path
        for path in paths_in((REPOSITORY / page).read_text())
        if not (PACKAGE / path).exists()
        and not (REPOSITORY / path).exists()
        and path not in names
        and path not in OTHERS_CODE | CACHE_FOLDERS
    } == set()


TASK = re.compile(r"^\| (?!task|---)([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def problems_of_task(rooms: str, start: str) -> Iterator[str]:
    """Yield what would mislead a reader of a row: another room, a name that is not there."""
    spans, named = SPAN.findall(start), SPAN.findall(rooms)
    modules = [span for span in spans if (PACKAGE / span).exists()]
    found = [f"{room_of(module)}/" for module in modules]
    if named and found and (found[0] != named[0] or {*found} - {*named}):
        yield f"{rooms} leads to {found}"
    files = [PACKAGE / module for module in modules if module.endswith(".py")]
    code = "\n".join(file.read_text() for file in files)
    for name in (span for span in spans if re.fullmatch(r"\w+", span)):
        if not re.search(rf"^ *(?:async )?(?:def |class )?{name}\b *[(:=\[]", code, re.MULTILINE):
            yield f"{start} has no {name}"


def test_tasks_of_contributors_lead_to_their_rooms() -> None:
    tasks = TASK.findall((REPOSITORY / "CONTRIBUTING.md").read_text())
    assert len({task for task, _, _ in tasks}) == len(tasks) > 80
    assert [each for _, rooms, start in tasks for each in problems_of_task(rooms, start)] == []


@pytest.mark.parametrize(
    ("rooms", "start", "found"),
    [
        ("`oci/`", "`Patience` in `oci/retry.py`", 0),
        ("`oci/`, `distro/`", "`Patience` in `oci/retry.py`; `_CONFIG` in `distro/apt.py`", 0),
        ("`distro/`, `oci/`", "`oci/retry.py`, `distro/apt.py`", 1),
        ("`oci/`", "`oci/retry.py`, `distro/apt.py`", 1),
        ("`oci/`", "`Patience` in `oci/download.py`", 1),
    ],
)
def test_a_task_that_misleads_is_seen(rooms: str, start: str, found: int) -> None:
    assert len(list(problems_of_task(rooms, start))) == found


def room_of(module: str) -> str:
    """Return the room that a module or folder is in."""
    return module.partition("/")[0]


def calls_in(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the indentation, the module and the name of each line of a call tree."""
    for line in text.splitlines():
        if found := re.fullmatch(r"( *)([a-z0-9_/]+/[a-z0-9_]+\.py) +(\w+)(?: .*)?", line):
            yield len(found[1]), found[2], found[3]


CALLS = [
    list(calls_in(block))
    for block in re.findall(r"^```text\n(.*?)^```", ARCHITECTURE.read_text(), re.M | re.S)
]


@pytest.mark.parametrize(
    "calls", [calls for calls in CALLS if calls], ids=lambda calls: calls[0][2]
)
def test_call_trees_go_down(calls: list[tuple[int, str, str]]) -> None:
    assert len(calls) > 5
    above: list[tuple[int, str]] = []
    for indent, module, name in calls:
        definition = rf"^ *(?:(?:async )?def|class) {name}\b|^{name}\b"
        assert re.search(definition, (PACKAGE / module).read_text(), re.M), (module, name)
        while above and above[-1][0] >= indent:
            above.pop()
        if above:
            caller = above[-1][1]
            assert floor_of(module) <= floor_of(caller), (caller, module)
            assert re.search(rf"\b{name}\b", (PACKAGE / caller).read_text()), (caller, name)
        above.append((indent, module))


def floor_of(module: str) -> int:
    """Return the floor of the room that a module is in."""
    return FLOOR[room_of(module)]
