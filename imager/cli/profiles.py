"""`imager profiles` and `imager profile`: list, print, create and document profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imager.cli.commands import App
from imager.cli.declare import argument, option
from imager.cli.options import Display, Results
from imager.cli.tables import table
from imager.profile.names import builtin_names
from imager.support.inputs import STDIN

if TYPE_CHECKING:
    from imager.profile.model import Profile

app = App()

_COLUMNS = ("NAME", "KIND", "FORMAT", "ARCH")


def list_profiles(*, display: Results) -> None:
    """List the built-in profiles."""
    from imager.app.profiles import builtin_profiles

    display.answer(_table, _rows, builtin_profiles())


def _table(profiles: Mapping[str, Profile]) -> Iterator[str]:
    rows = (tuple(row.values()) for row in _rows(profiles))
    return table([_COLUMNS, *rows], numbers=0)


def _rows(profiles: Mapping[str, Profile]) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "kind": profile.output.kind.value,
            "outFormat": profile.output.out_format.value,
            "arch": profile.arch,
        }
        for name, profile in profiles.items()
    ]


@app.command()
def show(
    name: Annotated[
        str,
        argument(
            "NAME|FILE|-",
            "Built-in profile, or a file; - is standard input.",
            autocompletion=builtin_names,
        ),
    ],
    *,
    display: Results,
) -> None:
    """Print a profile with its base and all defaults, in YAML."""
    from imager.app.profiles import open_profile

    display.answer(_yaml, _values, open_profile(name))


def _values(profile: Profile) -> dict[str, Any]:
    return profile.model_dump(mode="json", by_alias=True, exclude_none=True)


def _yaml(profile: Profile) -> list[str]:
    import yaml

    return yaml.safe_dump(_values(profile), sort_keys=False).splitlines()


@app.command()
def init(
    file: Annotated[str, argument("FILE|-", "File to write; - prints it.")] = "profile.yaml",
    *,
    base: Annotated[
        str, option("NAME", "Built-in profile to start from.", autocompletion=builtin_names)
    ] = "iso",
    display: Display,
) -> None:
    """Write a profile to start from, with every field explained and commented out."""
    from imager.app.profiles import starter_profile
    from imager.support.atomic import write_atomic

    text = starter_profile(base)
    if file == STDIN:
        typer.echo(text, nl=False)
        return
    write_atomic(Path(file), text.encode(), clobber=False)
    command = file if "/" in file else f"./{file}"
    display.reporter().step(f"wrote {file}: edit it, then run `imager {command}`")


@app.command()
def schema(*, display: Display) -> None:  # noqa: ARG001 - only the schema is printed
    """Print the JSON schema of a profile, for editors."""
    import json

    from imager.profile.reference import profile_schema

    typer.echo(json.dumps(profile_schema(), indent=2))


@app.command("lock-schema")
def print_lock_schema(*, display: Display) -> None:  # noqa: ARG001 - only the schema is printed
    """Print the JSON schema of a lock file."""
    import json

    from imager.app.lock.model import lock_schema

    typer.echo(json.dumps(lock_schema(), indent=2))


@app.command("reference")
def print_reference(*, display: Display) -> None:  # noqa: ARG001 - nothing else is printed
    """Print all fields of a profile, in Markdown."""
    from imager.profile.reference import reference_table

    typer.echo(reference_table(), nl=False)
