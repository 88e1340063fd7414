"""Declare options, and groups of options as dataclasses."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer


def option(metavar: str | None, text: str, *names: str, **settings: Any) -> Any:
    """Return an option with a value; set `default` if typer cannot show the default itself."""
    shown = settings.pop("default", True)
    return typer.Option(*names, metavar=metavar, help=text, show_default=shown, **settings)


def flag(name: str, text: str, *short: str) -> Any:
    """Return a boolean option; it has a negative form only if `name` is --NAME/--no-NAME."""
    return typer.Option(name, *short, help=text)


def argument(metavar: str, text: str, **settings: Any) -> Any:
    """Return an argument."""
    return typer.Argument(metavar=metavar, help=text, **settings)


@functools.cache
def hints_of(group: type) -> Mapping[str, Any]:
    """Return the annotations of a group of options by field, with their metadata."""
    return get_type_hints(group, include_extras=True)


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the dataclass parameters of `command` by one option per field.

    A dataclass may set the help panel of its options in `PANEL`.
    """
    own = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: each.annotation for name, each in own.items() if is_dataclass(each.annotation)
    }

    def parameters() -> Iterator[inspect.Parameter]:
        for name, parameter in own.items():
            if name not in groups:
                yield parameter.replace(annotation=_prepared(parameter.annotation, None))
                continue
            panel = getattr(groups[name], "PANEL", None)
            hints = hints_of(groups[name])
            for field in inspect.signature(groups[name]).parameters.values():
                yield field.replace(
                    kind=inspect.Parameter.KEYWORD_ONLY,
                    annotation=_prepared(hints[field.name], panel),
                )

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    vars(run)["__signature__"] = inspect.Signature(list(parameters()))
    return run


def _prepared(annotation: Any, panel: str | None) -> Any:
    """Return the annotation of an option in the help panel `panel`.

    Disables typer's check that files are readable, which would be reported as a usage error.
    """
    if get_origin(annotation) is not Annotated:
        return annotation
    kind, own, *_ = get_args(annotation)
    own = copy.copy(own)
    own.readable = False
    own.rich_help_panel = own.rich_help_panel or panel
    return Annotated[kind, own]
