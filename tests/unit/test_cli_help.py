"""Help pages: what they say of every command, and that they fit the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import pytest
import typer
from typer.core import TyperOption

from imager.cache.plan import CacheLayout, LayerCompression
from imager.cli import build_options, images
from imager.cli.app import app
from imager.cli.help import DISPLAY, HelpPage, Section, help_page, help_text
from imager.cli.options import ArchName
from imager.distro.flavors import find_flavor
from imager.profile.names import builtin_names
from imager.support.arch import ARCHES
from imager.talos.choices import Bootloader, EnrollKeys, OutFormat, OutputKind
from imager.talos.platforms import PLATFORMS
from tests.lib.tools.cli import invoke

ROOT: Any = typer.main.get_command(app)


def tree(command: Any = ROOT, parent: Any = None) -> Iterator[tuple[str, Any]]:
    """Yield the context of every command that is not hidden."""
    context = command.make_context(
        command.name or "imager", [], parent=parent, resilient_parsing=True,
        **(command.context_settings or {}),
    )  # fmt: skip
    context.info_name = command.name if parent else "imager"
    yield context.command_path, context
    for name, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield from tree(command.get_command(context, name), context)


CONTEXTS = dict(tree())
LEAVES = {path: each for path, each in CONTEXTS.items() if not hasattr(each.command, "commands")}
# They print a document, or go on until they are ended.
NO_JSON = {
    "imager config patch",
    "imager node run",
    "imager node unit",
    "imager images cache-serve",
    "imager profile init",
    "imager profile schema",
    "imager profile lock-schema",
    "imager profile reference",
}


def page(path: str) -> HelpPage:
    return help_page(CONTEXTS[path].command, CONTEXTS[path])


def options(path: str) -> dict[str, TyperOption]:
    found = CONTEXTS[path].command.get_params(CONTEXTS[path])
    return {name: each for each in found if isinstance(each, TyperOption) for name in each.opts}


@pytest.mark.parametrize("path", CONTEXTS)
def test_every_command_says_what_it_does(path: str) -> None:
    found = page(path)
    assert found.summary.endswith(".")
    assert {"-h", "--help"} <= options(path).keys()


@pytest.mark.parametrize("path", LEAVES)
def test_the_options_on_the_screen_are_everywhere(path: str) -> None:
    found = options(path)
    wanted = {"-q", "--quiet", "-v", "--verbose", "--no-color", "--progress"}
    assert wanted <= found.keys()
    assert ("--json" in found) is (path not in NO_JSON)
    assert page(path).sections[-1].title == DISPLAY


@pytest.mark.parametrize("path", LEAVES)
def test_values_are_in_capitals_or_the_choices(path: str) -> None:
    for section in page(path).sections:
        for name, text in section.items.items():
            assert text, name
            value = name.rpartition(" ")[2]
            if value.startswith("-"):
                continue
            choices = re.fullmatch(r"\[[a-z0-9.|-]+\]", value)
            assert choices or re.fullmatch(r"[A-Z][A-Z|/:=.\[\]-]*", value), name


@pytest.mark.parametrize("path", LEAVES)
def test_defaults_are_in_brackets(path: str) -> None:
    text = " ".join(text for section in page(path).sections for text in section.items.values())
    assert "default:" not in re.sub(r"\[[^]]*\]", "", text)


@pytest.mark.parametrize(
    ("offered", "known"),
    [
        (ArchName, [arch.name for arch in ARCHES]),
        (build_options.PlatformName, [*PLATFORMS]),
        (build_options.BootloaderName, [each.value for each in Bootloader]),
        (build_options.EnrollKeysName, [each.value for each in EnrollKeys]),
        (build_options.OutputKindName, [each.value for each in OutputKind]),
        (build_options.OutFormatName, [each.value for each in OutFormat]),
        (images.LayoutName, [each.value for each in CacheLayout]),
        (images.CompressionName, [each.value for each in LayerCompression]),
    ],
)
def test_choices_are_those_that_work(offered: Any, known: list[str]) -> None:
    assert list(get_args(offered)) == known


@pytest.mark.parametrize("path", LEAVES)
def test_whether_a_file_may_be_read_shows_when_it_is_read(path: str) -> None:
    for each in CONTEXTS[path].command.get_params(CONTEXTS[path]):
        assert not getattr(each.type, "readable", False), each.name


def test_flavors_are_those_that_there_are() -> None:
    flavor: Any = options("imager assets fetch")["--flavor"]
    for name in flavor.type.choices:
        assert find_flavor(name).name == name


@pytest.mark.parametrize("width", [20, 40, 79, 119])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for found in map(page, CONTEXTS):
        # Examples are there to be copied.
        for line in help_text(replace(found, epilog=""), width).splitlines():
            # A word alone may be too long.
            assert len(line) <= width or " " not in line.strip(), line


@pytest.mark.parametrize(
    ("columns", "widest"), [("40", 39), ("80", 79), ("100", 99), ("300", 120), ("1", 20)]
)
def test_the_width_is_that_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: str, widest: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    found = HelpPage("imager", "", "word " * 100, ())
    assert max(map(len, help_text(found).splitlines())) in range(widest - 5, widest + 1)


def test_a_page() -> None:
    options = {
        "-q, --quiet": "Print little.",
        "--cosign-signatures, --no-cosign-signatures": "Also cache docker-archives.",
    }
    found = HelpPage("imager x", "[OPTIONS]", "One.\n\nTwo.", (Section("All", options),), "E:\n  x")
    assert help_text(found, 70).splitlines() == [
        "Usage: imager x [OPTIONS]",
        "",
        "  One.",
        "",
        "  Two.",
        "",
        "All:",
        "  -q, --quiet                     Print little.",
        "  --cosign-signatures, --no-cosign-signatures",
        "                                  Also cache docker-archives.",
        "",
        "E:",
        "  x",
    ]
    assert help_text(found, 30).splitlines()[7:] == [
        "  -q, --quiet",
        "      Print little.",
        "  --cosign-signatures,",
        "      --no-cosign-signatures",
        "      Also cache",
        "      docker-archives.",
        "",
        "E:",
        "  x",
    ]


def test_panels_keep_their_options() -> None:
    titles = [section.title for section in page("imager iso").sections]
    assert titles == ["Inputs", "Output", "Release", "SecureBoot", "Registries", DISPLAY]
    assert page("imager iso").epilog.startswith("Examples:\n  imager iso ")
    assert page("imager").epilog.startswith("First steps:\n  imager assets fetch")


def test_every_profile_says_what_it_makes() -> None:
    page = invoke("--help").stdout
    assert "Build the profile" not in page
    assert all(re.search(rf"^  {name} +Build ", page, re.MULTILINE) for name in builtin_names())
