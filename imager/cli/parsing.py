"""Parse options strictly: no repeated or empty values; booleans accept `=true` and `=false`.

typer's parser silently uses the last value of a repeated option and rejects values of boolean
options. Go programs such as talosctl accept `--name=true` and `--name=false`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer._click.core import Command, Context
from typer._click.exceptions import UsageError
from typer._click.parser import _Argument, _Option, _OptionParser, _ParsingState

from imager.support.errors import InputError

# The values that Go's strconv.ParseBool accepts.
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class _StrictOption(_Option):
    """An option that rejects a second value, unless it is a list."""

    def process(self, value: Any, state: _ParsingState) -> None:
        """Record `value` in `state`; a boolean option may be repeated with the same value.

        Empty values are rejected, since they usually come from unset shell variables.
        """
        if self.takes_value and value == "":
            raise InputError(f"{_name(self)} is empty", hint="give a value, or leave it out")
        new = value if self.takes_value else self.const
        collects = self.action in ("append", "append_const", "count")
        if not collects and self.dest in state.opts:
            given = state.opts[self.dest]
            if self.takes_value or given != new:
                raise InputError(
                    f"{_name(self)} is given twice: {_shown(given)} and {_shown(new)}",
                    hint="give it once",
                )
        super().process(value, state)


class _StrictArgument(_Argument):
    """An argument that rejects an empty value, which Path would convert to the current folder."""

    def process(self, value: str | Sequence[str | None] | None, state: _ParsingState) -> None:
        """Record `value` in `state`."""
        if value is not None and "" in ([value] if isinstance(value, str) else value):
            raise InputError(f"{self.obj.human_readable_name} is empty", hint="give a value")
        super().process(value, state)


class _StrictParser(_OptionParser):
    """typer's parser with strict options and arguments."""

    def add_argument(self, *args: Any, **kwargs: Any) -> None:
        """Add a strict argument; parameters as in the base class."""
        self._args.append(_StrictArgument(*args, **kwargs))

    def add_option(self, *args: Any, **kwargs: Any) -> None:
        """Add a strict option; parameters as in the base class."""
        option = _StrictOption(*args, **kwargs)
        self._opt_prefixes.update(option.prefixes)
        self._short_opt.update(dict.fromkeys(option._short_opts, option))
        self._long_opt.update(dict.fromkeys(option._long_opts, option))

    def _match_long_opt(self, opt: str, explicit_value: str | None, state: _ParsingState) -> None:
        option = self._long_opt.get(opt) or self._short_opt.get(opt)
        if option is None or explicit_value is None or option.const is None:
            super()._match_long_opt(opt, explicit_value, state)
            return
        const = option.const if _is_true(opt, explicit_value) else not option.const
        given = _StrictOption(option.obj, [opt], option.dest, action=option.action, const=const)
        given.process(None, state)


class Strict(Command):
    """A command whose options are strict."""

    def make_parser(self, ctx: Context) -> _StrictParser:
        """Return the parser of this command's arguments."""
        parser = _StrictParser(ctx)
        for parameter in self.get_params(ctx):
            parameter.add_to_parser(parser, ctx)
        return parser

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse `args`, adding this command to usage errors without one."""
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            error.ctx = error.ctx or ctx
            raise


def _is_true(name: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise InputError(
            f"{name}={value}: {value!r} is neither true nor false",
            hint=f"write {name}, {name}=true or {name}=false",
        )
    return value in _TRUE


def _name(option: _Option) -> str:
    names: list[str] = option.obj.opts
    return next((name for name in names if name.startswith("--")), names[0])


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
