"""Model the help page of a command, and format it for a terminal.

The model is generated from the command, so `--help` and the manual pages cannot differ.
"""

from __future__ import annotations

import enum
import inspect
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

INPUTS = "Inputs"
OUTPUT = "Output"
DISPLAY = "Display"
LISTS = "Lists of images"
CACHES = "Image caches"
_OPTIONS = "Options"
_COMMANDS = "Commands"

_WIDEST = 120  # columns: longer lines are hard to read
_NARROWEST = 20
_STACKED_BELOW = 60  # columns: names and texts do not fit side by side
_NAME_COLUMN = 30


@dataclass(frozen=True, slots=True)
class Item:
    """An option, argument or command with its syntax and description."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """Items under a heading."""

    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class HelpPage:
    """The help of one command; `epilog` is a heading with lines that are not wrapped."""

    path: str
    usage: str
    summary: str
    sections: tuple[Section, ...]
    epilog: str = ""


def help_page(command: TyperCommand | TyperGroup, context: typer.Context) -> HelpPage:
    """Return the help page of `command` with the command path of `context`."""
    shown = [each for each in command.get_params(context) if not getattr(each, "hidden", False)]
    arguments = [each for each in shown if isinstance(each, TyperArgument)]
    options = [each for each in shown if isinstance(each, TyperOption)]
    rows = [(_panel(each, "Arguments"), _argument(each)) for each in arguments]
    if isinstance(command, TyperGroup):
        rows += _commands(command, context)
    rows += [(_panel(each, _OPTIONS), _option(each)) for each in options]
    return HelpPage(
        path=context.command_path,
        usage=" ".join(_usage(command, arguments)),
        summary=inspect.cleandoc(command.help or ""),
        sections=tuple(_sections(rows)),
        epilog=inspect.cleandoc(command.epilog or ""),
    )


def usage_line(command: TyperCommand | TyperGroup, context: typer.Context) -> str:
    """Return the usage of `command` in one line."""
    page = help_page(command, context)
    return f"Usage: {page.path} {page.usage}"


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


def _items(items: Sequence[Item], width: int) -> Iterator[str]:
    if width < _STACKED_BELOW:
        for item in items:
            yield from _wrapped(item.name, width, first="  ", indent="      ")
            yield from _wrapped(item.text, width, first=" " * 6, indent=" " * 6)
        return
    column = min(max(len(item.name) for item in items), _NAME_COLUMN) + 4
    indent = " " * column
    for item in items:
        if len(item.name) + 4 > column:
            yield f"  {item.name}"
            yield from _wrapped(item.text, width, first=indent, indent=indent)
        else:
            first = f"  {item.name}".ljust(column)
            yield from _wrapped(item.text, width, first=first, indent=indent)


def _sections(rows: Sequence[tuple[str, Item]]) -> Iterator[Section]:
    panels: dict[str, list[Item]] = {}
    for panel, item in rows:
        panels.setdefault(panel, []).append(item)
    # Display options are the same for all commands and are shown last.
    for title in sorted(panels, key=lambda title: title == DISPLAY):
        yield Section(title, tuple(panels[title]))


def _panel(item: Any, default: str) -> str:
    return item.rich_help_panel or default


def _commands(group: TyperGroup, context: typer.Context) -> list[tuple[str, Item]]:
    commands = [group.commands[name] for name in group.list_commands(context)]
    return [
        (_panel(each, _COMMANDS), Item(each.name or "", _first_paragraph(each.help)))
        for each in commands
        if not each.hidden
    ]


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


def _argument(argument: TyperArgument) -> Item:
    return Item(_metavar(argument), _with_notes(argument, []))


def _option(option: TyperOption) -> Item:
    # Short names precede long ones.
    names = ", ".join([*sorted(option.opts, key=_is_long), *option.secondary_opts])
    return Item(
        names if option.is_flag else f"{names} {_metavar(option)}",
        _with_notes(option, ["may be repeated"] if option.multiple else []),
    )


def _is_long(name: str) -> bool:
    return name.startswith("--")


def _with_notes(item: TyperOption | TyperArgument, notes: list[str]) -> str:
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
            yield from help_pages(each, below, context)
