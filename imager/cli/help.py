"""Model the help page of a command, and format it for a terminal.

The model is generated from the command, so `--help` and the manual pages cannot differ.
"""

from __future__ import annotations

import enum
import inspect
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

INPUTS = "Inputs"
OUTPUT = "Output"
DISPLAY = "Display"
LISTS = "Lists of images"
CACHES = "Image caches"

_WIDEST = 120  # columns: longer lines are hard to read
_NARROWEST = 20
_STACKED_BELOW = 60  # columns: names and texts do not fit side by side
_NAME_COLUMN = 30


@dataclass(frozen=True, slots=True)
class Section:
    """Options, arguments or commands under a heading: the description of each, by its syntax."""

    title: str
    items: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HelpPage:
    """The help of one command; `epilog` is a heading with lines that are not wrapped."""

    path: str
    usage: str
    summary: str
    sections: tuple[Section, ...]
    epilog: str = ""

    @property
    def name(self) -> str:
        """The name of the page's file; the command that reads standard input is named -."""
        return self.path.replace(" -", " stdin").replace(" ", "-")


def help_page(command: TyperCommand | TyperGroup, context: typer.Context) -> HelpPage:
    """Return the help page of `command` with the command path of `context`."""
    shown = [each for each in command.get_params(context) if not getattr(each, "hidden", False)]
    arguments = [each for each in shown if isinstance(each, TyperArgument)]
    options = [each for each in shown if isinstance(each, TyperOption)]
    panels: dict[str, dict[str, str]] = {}
    for each in arguments:
        _panel(panels, each, "Arguments")[_metavar(each)] = _with_notes(each)
    for below in _subcommands(command, context):
        _panel(panels, below, "Commands")[below.name or ""] = _first_paragraph(below.help)
    for option in options:
        _panel(panels, option, "Options")[_syntax(option)] = _with_notes(option)
    return HelpPage(
        path=context.command_path,
        usage=" ".join(_usage(command, arguments)),
        summary=inspect.cleandoc(command.help or ""),
        # Display options are the same for all commands and are shown last.
        sections=tuple(
            Section(title, panels[title])
            for title in sorted(panels, key=lambda title: title == DISPLAY)
        ),
        epilog=inspect.cleandoc(command.epilog or ""),
    )


def help_text(page: HelpPage, width: int | None = None) -> str:
    """Format `page` for `width` columns (default: the terminal's width)."""
    if width is None:
        width = max(min(shutil.get_terminal_size().columns - 1, _WIDEST), _NARROWEST)
    lines = [*_wrapped(f"Usage: {page.path} {page.usage}", width, first="", indent=" " * 4)]
    for paragraph in page.summary.split("\n\n"):
        lines += ["", *_wrapped(paragraph, width, first="  ", indent="  ")]
    for section in page.sections:
        lines += ["", f"{section.title}:", *_items(section.items, width)]
    if page.epilog:
        lines += ["", *page.epilog.splitlines()]
    return "\n".join(lines)


def _wrapped(text: str, width: int, *, first: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    ) or [first.rstrip()]


def _items(items: Mapping[str, str], width: int) -> Iterator[str]:
    if width < _STACKED_BELOW:
        for name, text in items.items():
            yield from _wrapped(name, width, first="  ", indent="      ")
            yield from _wrapped(text, width, first=" " * 6, indent=" " * 6)
        return
    column = min(max(map(len, items)), _NAME_COLUMN) + 4
    indent = " " * column
    for name, text in items.items():
        first = f"  {name}".ljust(column)
        if len(name) + 4 > column:
            yield f"  {name}"
            first = indent
        yield from _wrapped(text, width, first=first, indent=indent)


def _panel(panels: dict[str, dict[str, str]], item: Any, default: str) -> dict[str, str]:
    return panels.setdefault(item.rich_help_panel or default, {})


def _subcommands(command: Any, context: typer.Context) -> list[Any]:
    """Return the visible subcommands of `command`, in the order of its help."""
    names = command.list_commands(context) if isinstance(command, TyperGroup) else ()
    return [command.commands[name] for name in names if not command.commands[name].hidden]


def _first_paragraph(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def _usage(command: Any, arguments: Sequence[TyperArgument]) -> Iterator[str]:
    yield "[OPTIONS]"
    for each in arguments:
        yield _metavar(each) if each.required else f"[{_metavar(each)}]"
    if isinstance(command, TyperGroup):
        yield "COMMAND [ARGS]..."


def _metavar(item: TyperOption | TyperArgument) -> str:
    choices = getattr(item.type, "choices", None)
    if item.metavar is None and choices is not None:
        return f"[{'|'.join(map(_value, choices))}]"
    return item.metavar or (item.name or "").upper()


def _value(value: object) -> str:
    return str(value.value if isinstance(value, enum.Enum) else value)


def _syntax(option: TyperOption) -> str:
    # Short names precede long ones.
    short_first = sorted(option.opts, key=lambda name: name.startswith("--"))
    names = ", ".join([*short_first, *option.secondary_opts])
    return names if option.is_flag else f"{names} {_metavar(option)}"


def _with_notes(item: TyperOption | TyperArgument) -> str:
    notes = ["may be repeated"] if isinstance(item, TyperOption) and item.multiple else []
    low, high = getattr(item.type, "min", None), getattr(item.type, "max", None)
    if low is not None and high is not None:
        notes.append(f"{low} to {high}")
    if default := _default(item):
        notes.append(f"default: {default}")
    if item.show_envvar and item.envvar:
        notes.append(f"environment variable: {item.envvar}")
    if item.required and isinstance(item, TyperOption):
        notes.append("required")
    return " ".join([item.help or "", f"[{'; '.join(notes)}]" if notes else ""]).strip()


def _default(item: TyperOption | TyperArgument) -> str:
    if isinstance(item.show_default, str):
        return item.show_default
    if item.default is None or not item.show_default:
        return ""
    if isinstance(item, TyperOption) and item.is_bool_flag:
        names = item.opts if item.default else item.secondary_opts
        return names[0] if item.secondary_opts else ""
    return _value(item.default)


def help_pages(command: Any, name: str, parent: typer.Context | None = None) -> Iterator[HelpPage]:
    """Yield the help pages of `command`, named `name`, and of its visible subcommands."""
    settings = command.context_settings
    # A resilient parser does not require arguments or run callbacks.
    context = command.make_context(name, [], parent=parent, resilient_parsing=True, **settings)
    yield help_page(command, context)
    for below, each in getattr(command, "commands", {}).items():
        if not each.hidden:
            yield from help_pages(command.get_command(context, below), below, context)
