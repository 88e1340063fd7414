"""How commands take options: once, and booleans with a value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

import pytest
import typer
from typer.exceptions import TyperException
from typer.models import OptionInfo
from typer.testing import CliRunner

from imager.cli.app import app
from imager.cli.commands import App, usage_error
from imager.cli.options import TalosVersion
from imager.cli.parsing import Strict
from imager.support.errors import InputError
from imager.talos.version import DEFAULT_VERSION


def run(*arguments: str) -> str:
    """Return what a command prints that has an option of each kind."""
    probe = App()

    @probe.command()
    def command(
        words: Annotated[list[str] | None, typer.Argument()] = None,
        *,
        size: str = "small",
        name: Annotated[list[str] | None, typer.Option()] = None,
        verify: bool = True,
        force: Annotated[bool, typer.Option("--force", "-f")] = False,
        jobs: Annotated[int, typer.Option("--jobs", "-j")] = 1,
    ) -> None:
        typer.echo(f"{size} {name or []} {verify} {force} {jobs} {words or []}")

    # With one command alone, typer makes no group.
    probe.callback()(lambda: None)
    done = CliRunner().invoke(probe, ["command", *arguments])
    if isinstance(done.exception, InputError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "small [] True False 1 []"),
        (("--force=true", "--verify=false"), "small [] False True 1 []"),
        (("--force=false", "--verify=true"), "small [] True False 1 []"),
        (("--no-verify=true",), "small [] False False 1 []"),
        (("--no-verify=false",), "small [] True False 1 []"),
        (("-f=1", "--verify=F"), "small [] False True 1 []"),
        (("-f", "--force", "--force=true"), "small [] True True 1 []"),
        (("--name", "a", "--name=b"), "small ['a', 'b'] True False 1 []"),
        # a value that looks like an option, and words behind --
        (("--size", "--force=no"), "--force=no [] True False 1 []"),
        (("--", "--force=no", "--size"), "small [] True False 1 ['--force=no', '--size']"),
        (("-fj2",), "small [] True True 2 []"),
    ],
)
def test_what_is_taken(arguments: tuple[str, ...], said: str) -> None:
    assert run(*arguments) == said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "a", "--size=b"), "--size is given twice: 'a' and 'b'"),
        (("--size=a", "--size=a"), "--size is given twice: 'a' and 'a'"),
        (("-j1", "--jobs=2"), "--jobs is given twice: '1' and '2'"),
        (("--verify", "--no-verify"), "--verify is given twice: true and false"),
        (("-f", "--force=false"), "--force is given twice: true and false"),
    ],
)
def test_a_second_value_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        run(*arguments)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "arguments",
    [("--size=",), ("--size", ""), ("--name", "a", "--name", ""), ("-j", ""), ("",), ("a", "")],
)
def test_an_empty_value_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"is empty$"):
        run(*arguments)


@pytest.mark.parametrize("value", ["", "yes", "on", "2", "tRUE", " true"])
def test_what_is_neither_true_nor_false(value: str) -> None:
    with pytest.raises(InputError, match="is neither true nor false") as caught:
        run(f"--force={value}")
    assert "--force=false" in caught.value.hint


def test_a_missing_value_names_the_command() -> None:
    with pytest.raises(TyperException) as caught:
        app(["images", "cache-create", "--images"], prog_name="imager", standalone_mode=False)
    error = usage_error(caught.value)
    assert error.message == "option '--images' requires an argument"
    assert error.hint == "`imager images cache-create --help` shows its usage"


def test_the_shown_default_release_is_the_default() -> None:
    (option,) = (each for each in get_args(TalosVersion) if isinstance(each, OptionInfo))
    assert option.show_default == DEFAULT_VERSION


def commands(group: Any) -> Iterator[Any]:
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "commands"):
            yield from commands(command)
        else:
            yield command


def test_every_command_is_strict() -> None:
    found = list(commands(typer.main.get_command(app)))
    assert len(found) > 20
    assert not [each.name for each in found if not isinstance(each, Strict)]
