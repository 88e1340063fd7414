"""Base classes of commands and command groups: help, errors, and options in dataclasses."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command_name, get_group

from imager.cli.declare import flattened
from imager.cli.help import DISPLAY, help_page, help_text
from imager.cli.parsing import Strict
from imager.support.errors import ImagerError, InputError, error_json
from imager.support.units import count

_CALLED_WRONGLY = 2
# typer's own extras: options for completion, which only the root has, and texts in rich's markup.
_PLAIN: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}


class _Helped:
    """The help methods shared by commands and groups."""

    def get_help(self, ctx: Any) -> str:
        """Return the help page as text."""
        return help_text(help_page(ctx.command, ctx))

    def get_usage(self, ctx: Any) -> str:
        """Return the usage line."""
        page = help_page(ctx.command, ctx)
        return f"Usage: {page.path} {page.usage}"

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help, listed in the display panel."""
        parent: Any = super()
        option = parent.get_help_option(ctx)
        option.help = "Show this help and exit."
        option.rich_help_panel = DISPLAY
        return option


class Command(_Helped, Strict, TyperCommand):
    """A command with custom help, which prints errors as JSON if --json is given."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (ImagerError, OSError) as error:
            # A closed standard output takes nothing more.
            is_printed = isinstance(error, BrokenPipeError) or getattr(error, "in_result", False)
            if ctx.params.get("json_output") and not is_printed:
                typer.echo(json.dumps({"error": error_json(error)}, indent=2))
            raise


class _Outline(TyperCommand):
    """A command or group as the group above lists it: its name and help.

    A run needs the options of one command; making those of all commands takes longer than most
    runs.
    """

    def __init__(self, make: Callable[[], Any], **settings: Any) -> None:
        super().__init__(**settings)
        self._make = make

    @cached_property
    def whole(self) -> Any:
        """The command with its options, or the group with its commands."""
        return self._make()


class Group(_Helped, Strict, TyperGroup):
    """A command group with custom help, which is also shown if no command is given.

    Its `commands` are outlines; `get_command` returns the whole of one.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command `cmd_name`, which is made when it is first needed."""
        found = super().get_command(ctx, cmd_name)
        return found.whole if isinstance(found, _Outline) else found

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; without any, print the help and exit with status 2."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(_CALLED_WRONGLY)
        return super().parse_args(ctx, args)


def usage_error(error: TyperException) -> InputError:
    """Convert typer's usage error to an InputError."""
    message = error.format_message().rstrip(".")
    for typers, ours in ((". Did you mean", ": did you mean"), ("(Possible ", "(possible ")):
        message = message.replace(typers, ours)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "imager"
    return InputError(message[:1].lower() + message[1:], hint=f"`{command} --help` shows its usage")


def raise_problems(source: object, problems: Sequence[str], *, hint: str = "") -> None:
    """Raise InputError with the `problems` of a printed result, if there are any."""
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        error = InputError(f"{source}: {count(len(problems), 'problem')}{lines}", hint=hint)
        error.in_result = True
        raise error


class App(typer.Typer):
    """A typer app that expands dataclass parameters of commands to one option per field."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"cls": Group, **_PLAIN, **settings})

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """Return a decorator that registers a function as the command `name`."""

        def register(function: Callable[..., None]) -> Callable[..., None]:
            named = {"name": name or get_command_name(function.__name__), **settings}
            text = settings.get("help") or inspect.getdoc(function)
            self._list(partial(_command, function, named), **{**named, "help": text})
            return function

        return register

    def add_group(self, name: str, load: Callable[[], App], **settings: Any) -> None:
        """Register the app that `load` returns as the group `name`; it is called when needed."""
        self._list(partial(_group, load, name, settings["help"]), name=name, **settings)

    def _list(self, make: Callable[[], Any], **settings: Any) -> None:
        super().command(**{**settings, "cls": partial(_Outline, make)})(_without_options)


def _without_options() -> None:
    """Stand for the function of an outline, which is not called."""


def _command(function: Callable[..., None], settings: dict[str, Any]) -> Any:
    """Return the command that calls `function`, with its options."""
    single = typer.Typer(**_PLAIN)
    single.command(cls=Command, **settings)(flattened(function))
    return typer.main.get_command(single)


def _group(load: Callable[[], App], name: str, text: str) -> TyperGroup:
    """Return the group `name` of the app that `load` returns."""
    group = get_group(load())
    group.name, group.help = name, text
    return group
